use super::*;
use quality_core::quality::trace::Category;

const HEAD: &str = r#""run_id": "r1", "dataset": {"version": "v7", "digest": "abc"}"#;

fn compliance_of(rows: &str) -> Result<Loaded<Compliance>, FormatError> {
    compliance(format!("{{{HEAD}, \"queries\": [{rows}]}}").as_bytes())
}

fn message<T: std::fmt::Debug>(result: Result<T, FormatError>) -> String {
    result.unwrap_err().to_string()
}

#[test]
fn the_examples_are_read() {
    let read = |name: &str| {
        let folder = std::path::Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../..")).join("examples/evidence");
        std::fs::read(folder.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    };
    assert!(compliance(&read("compliance_metrics.json")).unwrap().data.queries.len() >= 30);
    let logs = ["2026-11-09.json", "2026-11-16.jsonl", "2026-11-23.json"]
        .map(|name| conflict_log(&read(&format!("conflict_logs/{name}"))).unwrap());
    assert_eq!(conflict_windows(logs.to_vec()).unwrap().data.len(), 3);
    assert_eq!(
        conflict_summary(&read("conflict_log_summary.json")).unwrap().data.len(),
        3
    );
    calibration(&read("calibration_report.json")).unwrap();
    assert!(timeseries(&read("compliance_timeseries.csv")).unwrap().data.len() > 300);
    assert_eq!(profiling(&read("profiling_report.json")).unwrap().data.stages.len(), 4);
    assert!(
        !trace(read("profiler_trace.json").as_slice())
            .unwrap()
            .data
            .parts
            .is_empty()
    );
    runtime_perf(&read("runtime_perf.log")).unwrap();
    let gpu = gpu_profiler(&read("gpu_profiler.log")).unwrap();
    assert_eq!(gpu.data[0].gpu_utilization, Some(0.71));
    telemetry(&read("telemetry.json")).unwrap();
    error_logs(&read("error_logs.json")).unwrap();
}

#[test]
fn bad_compliance_files_say_where_and_hold_nothing_of_the_file() {
    let row = r#"{"query": "q1", "correct_at_1": true, "correct_at_5": true}"#;
    assert_eq!(compliance_of(row).unwrap().data.queries.len(), 1);
    for (rows, words) in [
        (String::new(), "no rows"),
        (format!("{row}, {row}"), "query 2: this query id is given twice"),
        (row.replace("true}", "true, \"correct_at_5\": true}"), "line 1, column"),
        (row.replace("true}", "true, \"sesion\": \"secret\"}"), "line 1, column"),
        (
            row.replace("at_5\": true", "at_5\": false"),
            "correct_at_1 without correct_at_5",
        ),
        (row.replace("true}", "true, \"grades\": [NaN]}"), "line 1, column"),
        (row.replace("true}", "true, \"grades\": [1e999]}"), "line 1, column"),
        (row.replace("true}", "true, \"grades\": [-1]}"), "a grade must lie"),
        (row.replace("q1", ""), "1 to 256 characters"),
    ] {
        let message = message(compliance_of(&rows));
        assert!(message.contains(words), "{rows}: {message}");
        assert!(!message.contains("secret"));
    }
    let whole = format!("{{{HEAD}, \"queries\": [{row}]}}");
    for end in [1, whole.len() / 2, whole.len() - 1] {
        assert!(
            matches!(compliance(&whole.as_bytes()[..end]), Err(FormatError::Truncated)),
            "{end}"
        );
    }
    assert!(compliance(b"<html>").is_err());
    assert!(compliance(whole.replace("\"r1\"", "\"a#b\"").as_bytes()).is_err());
    let deep = format!("{{{HEAD}, \"queries\": {}", "[".repeat(100_000));
    assert!(compliance(deep.as_bytes()).is_err());
}

#[test]
fn a_file_over_its_limit_is_refused_before_it_is_held() {
    let endless = std::io::repeat(b' ');
    assert!(matches!(
        read_bounded(File::Telemetry, endless),
        Err(FormatError::TooLong(limit)) if limit == 1 << 20
    ));
}

#[test]
fn a_conflict_log_is_json_or_json_lines() {
    let head = format!("{{{HEAD}, \"start\": \"2026-11-23T00:00:00Z\"");
    let row = r#"{"query": "q1", "kind": "blossom/fruit", "severity": 0.4, "penalty": 0.1, "score": 0.8}"#;
    let json = conflict_log(format!("{head}, \"rows\": [{row}]}}").as_bytes()).unwrap();
    let lines = conflict_log(format!("{head}}}\n{row}\n").as_bytes()).unwrap();
    assert_eq!(json.data, lines.data);
    assert!(conflict_log(format!("{head}}}\n{row}\n{row}\n").as_bytes()).is_err());
    assert!(conflict_log(format!("{head}}}\n{}\n", row.replace("0.4", "1.4")).as_bytes()).is_err());
    assert!(conflict_log(format!("{head}}}\n{}", &row[..20]).as_bytes()).is_err());
    assert!(conflict_windows(vec![json.clone(), lines]).is_err(), "one window twice");
    let mut other = json.clone();
    other.data.start += 604_800;
    other.origin.run_id = Some("r2".to_owned());
    assert!(message(conflict_windows(vec![json, other])).contains("another run"));
}

#[test]
fn rows_of_a_time_series_are_in_order_and_whole() {
    let head = "# run_id=r1\n# dataset_version=v7\n# dataset_digest=abc\ntimestamp,value,n\n";
    let good = format!("{head}2026-11-23T00:00:00Z,0.9,50\n2026-11-23T01:00:00Z,0.8,50\n");
    let loaded = timeseries(good.as_bytes()).unwrap();
    assert_eq!(loaded.origin.run_id.as_deref(), Some("r1"));
    assert!((loaded.data[1].value - 0.8).abs() < 1e-12);
    for (text, words) in [
        (good.replace("T01", "T00"), "line 6: rows must be in the order of time"),
        (good.replace("0.8", "NaN"), "line 6: value must be a number"),
        (good.replace("0.8", "inf"), "line 6: value"),
        (good.replace(",n\n", ",count\n"), "header"),
        (good.replace("0.8,50", "0.8"), "line 6: three fields"),
        (good[..good.len() - 1].to_owned(), "ends too early"),
        (head.to_owned(), "no rows"),
        (format!("# run_id=r2\n{good}"), "given twice"),
    ] {
        let message = message(timeseries(text.as_bytes()));
        assert!(message.contains(words), "{text}: {message}");
    }
}

#[test]
fn a_calibration_report_has_predictions_or_bins() {
    let of = |rest: &str| calibration(format!("{{{HEAD}{rest}}}").as_bytes());
    assert!(of(r#", "predictions": [{"confidence": 0.5, "correct": true}]"#).is_ok());
    assert!(of(r#", "bins": [{"n": 5, "confidence": 0.5, "observed": 0.4}]"#).is_ok());
    for rest in [
        "",
        r#", "predictions": [{"confidence": 1.5, "correct": true}]"#,
        r#", "bins": [{"n": 5, "confidence": 0.5, "observed": 0.4}, {"n": 5, "confidence": 0.4, "observed": 0.4}]"#,
        r#", "bins": [], "predictions": []"#,
        r#", "bins": [{"n": 0, "confidence": 0.5, "observed": 0.4}]"#,
        r#", "bins": [{"n": 18446744073709551615, "confidence": 0.5, "observed": 0.4}, {"n": 1, "confidence": 0.5, "observed": 0.4}]"#,
    ] {
        assert!(of(rest).is_err(), "{rest}");
    }
}

#[test]
fn a_stage_has_samples_or_a_histogram() {
    let of = |stage: &str| profiling(format!("{{{HEAD}, \"stages\": {{\"total\": {stage}}}}}").as_bytes());
    assert!(of(r#"{"samples_ms": [1, 2]}"#).is_ok());
    assert!(of(r#"{"histogram": {"edges_ms": [1, 2], "counts": [3, 4, 0]}}"#).is_ok());
    for stage in [
        r#"{"samples_ms": [-1]}"#,
        r#"{"samples_ms": []}"#,
        "{}",
        r#"{"histogram": {"edges_ms": [2, 1], "counts": [3, 4, 0]}}"#,
        r#"{"histogram": {"edges_ms": [1, 2], "counts": [3, 4]}}"#,
    ] {
        assert!(of(stage).is_err(), "{stage}");
    }
}

#[test]
fn the_csv_of_nvidia_smi_is_read_by_its_header() {
    let text = "timestamp, name, utilization.gpu [%], memory.used [MiB], memory.total [MiB]\n\
        2026/11/24 01:00:00.123, NVIDIA H200, 97 %, 1000 MiB, 4000 MiB\n\
        2026/11/24 01:00:00.123, NVIDIA H200, [N/A], 1000 MiB, 4000 MiB\n";
    let samples = gpu_profiler(text.as_bytes()).unwrap().data;
    assert_eq!(
        (samples[0].gpu_utilization, samples[0].gpu_memory),
        (Some(0.97), Some(0.25))
    );
    assert_eq!(samples[1].gpu_utilization, None);
    assert!(gpu_profiler(text.replace("97 %, ", "").as_bytes()).is_err());
    assert!(gpu_profiler(text.replace("timestamp", "time").as_bytes()).is_err());
}

#[test]
fn a_summary_out_of_its_range_is_refused() {
    let with = |value: &str| {
        format!(
            "{{{HEAD}, \"queries\": [{{\"query\": \"q\", \"correct_at_1\": true, \"correct_at_5\": true}}], \
             \"summary\": {{\"ndcg_at_10\": {value}}}}}"
        )
    };
    assert!(compliance(with("1").as_bytes()).is_ok());
    for value in ["-0.1", "1.1", "1e308"] {
        let message = message(compliance(with(value).as_bytes()));
        assert!(message.contains("between 0 and 1"), "{message}");
    }
}

#[test]
fn a_log_that_names_only_its_run_is_held_to_the_same_limits() {
    let line = "2026-11-24T01:00:15Z requests=100 errors=1 seconds=15\n";
    for head in [
        format!("# run_id={}\n", "x".repeat(65)),
        "# run_id=\n".to_owned(),
        "# run_id=a\u{0}b\n".to_owned(),
        format!("# dataset_digest={}\n", "x".repeat(129)),
    ] {
        assert!(runtime_perf(format!("{head}{line}").as_bytes()).is_err(), "{head}");
    }
    assert!(runtime_perf(format!("# run_id=r1\n{line}").as_bytes()).is_ok());
}

#[test]
fn load_logs_are_in_order_and_add_up() {
    let line = "2026-11-24T01:00:15Z requests=100 errors=1 seconds=15\n";
    assert_eq!(runtime_perf(line.as_bytes()).unwrap().data[0].errors, Some(1.0));
    for bad in [
        format!("{line}{line}"),
        line.replace("errors=1", "errors=101"),
        line.replace(" seconds=15", ""),
        line.replace("errors=1", "errors=1 errors=2"),
        line.replace("seconds=15", "seconds=NaN"),
    ] {
        assert!(runtime_perf(bad.as_bytes()).is_err(), "{bad}");
    }
    let errors = |requests: u32| {
        format!(
            "{{{HEAD}, \"requests\": {requests}, \"errors\": [{{\"timestamp\": \"2026-11-24T01:00:15Z\", \"kind\": \"timeout\"}}]}}"
        )
    };
    assert_eq!(error_logs(errors(10).as_bytes()).unwrap().data.failed, 1);
    assert!(error_logs(errors(0).as_bytes()).is_err());
}

#[test]
fn a_trace_is_read_as_a_stream_and_bounded_in_depth() {
    let event = r#"{"ph": "X", "cat": "cpu_op", "name": "aten::mm", "pid": 1, "tid": "main", "ts": 1.5, "dur": 10, "args": {"Input Dims": [[1, 2]]}}"#;
    let whole = format!(
        "{{\"schemaVersion\": 1, \"deviceProperties\": [{{}}], \"traceEvents\": [{{\"ph\": \"M\"}}, {event}]}}"
    );
    let loaded = trace(whole.as_bytes()).unwrap();
    assert_eq!(loaded.sha256, sha256(whole.as_bytes()));
    let spent: f64 = loaded.data.parts[&("aten::mm".to_owned(), Category::Compute)]
        .iter()
        .sum();
    assert!((spent - 10.0).abs() < 1e-9);
    assert_eq!(trace(format!("[{event}]").as_bytes()).unwrap().data, loaded.data);

    let deep = format!("{}{}", "[".repeat(80), "]".repeat(80));
    assert!(matches!(
        trace(whole.replace("[[1, 2]]", &deep).as_bytes()),
        Err(FormatError::TooDeep)
    ));
    let shallow = format!("{}{}", "[".repeat(50), "]".repeat(50));
    assert!(trace(whole.replace("[[1, 2]]", &shallow).as_bytes()).is_ok());
    assert!(matches!(
        trace(&whole.as_bytes()[..whole.len() - 5]),
        Err(FormatError::Truncated)
    ));
    assert!(
        trace(whole.replace("\"dur\": 10", "\"dur\": 10, \"dur\": 11").as_bytes()).is_err(),
        "a field twice"
    );
    assert!(trace(whole.replace("\"dur\": 10", "\"dur\": -1").as_bytes()).is_err());
    assert!(matches!(
        trace(&b"{\"traceEvents\": []}"[..]),
        Err(FormatError::Trace(_))
    ));
    assert!(trace(&b"{}"[..]).is_err());
}
