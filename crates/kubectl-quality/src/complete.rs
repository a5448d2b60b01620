//! Completion: scripts for shells, and the answer that kubectl asks a plugin's `kubectl_complete-` program for.

use std::time::Duration;

use kube::ResourceExt;

use super::{
    Cluster,
    arguments::{Arguments, CompletionFor, Connection},
};
use quality_api::{QualityIncident, QualityPolicy, QualityReportSnapshot, RollbackCheckpoint};

/// The first word of a command line that asks what can stand next on another one; the words after it are that one, the
/// last of them being written. It is no command: its words are not parsed.
pub const COMPLETE: &str = "__complete";
/// Nobody waits longer for a Tab.
const PATIENCE: Duration = Duration::from_secs(2);
/// "No file names": a directive of cobra, whose protocol kubectl speaks.
const NO_FILES: &str = ":4\n";
/// "File names, if you like."
const FILES: &str = ":0\n";

/// A program for the PATH, `kubectl_complete-quality`.
const FOR_KUBECTL: &str =
    "#!/bin/sh\n# kubectl runs this for `kubectl quality <TAB>`.\nexec kubectl-quality __complete \"$@\"\n";

/// The script of a shell.
pub fn script(shell: CompletionFor) -> String {
    let shell = match shell {
        CompletionFor::Bash => clap_complete::Shell::Bash,
        CompletionFor::Zsh => clap_complete::Shell::Zsh,
        CompletionFor::Fish => clap_complete::Shell::Fish,
        CompletionFor::Powershell => clap_complete::Shell::PowerShell,
        CompletionFor::Kubectl => return FOR_KUBECTL.to_owned(),
    };
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Arguments::definition(), "kubectl-quality", &mut text);
    String::from_utf8_lossy(&text).into_owned()
}

/// What is being written.
#[derive(Debug, PartialEq, Eq)]
enum Wanted {
    /// One of these.
    Words(Vec<(String, String)>),
    /// The name of an object of the cluster.
    Policy,
    Incident,
    Checkpoint,
    Snapshot(String),
    /// A file or folder.
    File,
    /// Something that nobody can guess.
    Nothing,
}

/// What can stand in place of the last of `words`, a line each, and what kubectl does with it then.
pub async fn answer(words: &[String]) -> String {
    let (wanted, connection) = wanted(words);
    let prefix = words.last().map_or("", String::as_str);
    let found = match wanted {
        Wanted::Words(words) => words,
        Wanted::File => return FILES.to_owned(),
        Wanted::Nothing => return NO_FILES.to_owned(),
        ref names => {
            let asked = tokio::time::timeout(PATIENCE, names_of(names, connection)).await;
            asked.unwrap_or_default()
        }
    };
    let mut text = String::new();
    for (word, about) in found.iter().filter(|(word, _)| word.starts_with(prefix)) {
        text.push_str(word);
        if !about.is_empty() {
            text.push('\t');
            text.push_str(about);
        }
        text.push('\n');
    }
    text + NO_FILES
}

/// Names of the cluster with what tells them apart; none where they cannot be read.
async fn names_of(wanted: &Wanted, connection: Connection) -> Vec<(String, String)> {
    let Ok(cluster) = Cluster::connect(connection).await else {
        return Vec::new();
    };
    match wanted {
        Wanted::Policy => {
            let policies: Vec<QualityPolicy> = cluster.list().await.unwrap_or_default();
            let about = |policy: &QualityPolicy| policy.status.as_ref().map(|status| status.verdict.clone());
            policies
                .iter()
                .map(|policy| (policy.name_any(), about(policy).unwrap_or_default()))
                .collect()
        }
        Wanted::Incident => {
            let incidents: Vec<QualityIncident> = cluster.list().await.unwrap_or_default();
            let about = |incident: &QualityIncident| {
                let state = incident.status.as_ref().map(|status| status.state).unwrap_or_default();
                format!("{} {}", incident.spec.trigger.name(), state.name())
            };
            incidents
                .iter()
                .map(|incident| (incident.name_any(), about(incident)))
                .collect()
        }
        Wanted::Checkpoint => {
            let checkpoints: Vec<RollbackCheckpoint> = cluster.list().await.unwrap_or_default();
            let about = |checkpoint: &RollbackCheckpoint| checkpoint.spec.target_ref.name.clone();
            checkpoints
                .iter()
                .map(|checkpoint| (checkpoint.name_any(), about(checkpoint)))
                .collect()
        }
        Wanted::Snapshot(policy) => {
            let snapshots: Vec<QualityReportSnapshot> = cluster.snapshots(policy).await.unwrap_or_default();
            let about = |snapshot: &QualityReportSnapshot| {
                format!("{} {}", snapshot.spec.of.name(), snapshot.spec.report.verdict)
            };
            let list = [("list".to_owned(), "which there are".to_owned())];
            list.into_iter()
                .chain(snapshots.iter().map(|snapshot| (snapshot.name_any(), about(snapshot))))
                .collect()
        }
        Wanted::Words(_) | Wanted::File | Wanted::Nothing => Vec::new(),
    }
}

/// What the last word is to be, and which cluster the words before it name.
fn wanted(words: &[String]) -> (Wanted, Connection) {
    let (last, before) = words
        .split_last()
        .map_or(("", &[][..]), |(last, before)| (last.as_str(), before));
    let mut connection = Connection::default();
    let mut plain = Vec::new();
    let mut words = before.iter();
    let mut open = None;
    while let Some(word) = words.next() {
        let (flag, value) = match word.split_once('=') {
            Some((flag, value)) if word.starts_with("--") => (flag, Some(value.to_owned())),
            _ => (word.as_str(), None),
        };
        if !takes_value(flag) {
            match flag {
                "-A" | "--all-namespaces" => connection.all_namespaces = true,
                _ if !flag.starts_with('-') => plain.push(word.clone()),
                _ => {}
            }
            continue;
        }
        let Some(value) = value.or_else(|| words.next().cloned()) else {
            open = Some(flag.to_owned());
            break;
        };
        match flag {
            "-n" | "--namespace" => connection.namespace = Some(value),
            "--context" => connection.context = Some(value),
            "--kubeconfig" => connection.kubeconfig = Some(value.into()),
            _ => {}
        }
    }
    (of_place(&plain, open.as_deref(), last), connection)
}

/// Whether some command has this flag with a value.
fn takes_value(flag: &str) -> bool {
    let definition = Arguments::definition();
    let own = definition.get_subcommands().flat_map(clap::Command::get_arguments);
    definition
        .get_arguments()
        .chain(own)
        .any(|argument| is_called(argument, flag) && argument.get_action().takes_values())
}

fn is_called(argument: &clap::Arg, flag: &str) -> bool {
    let long = argument
        .get_long()
        .is_some_and(|long| flag.strip_prefix("--") == Some(long));
    let short = argument
        .get_short()
        .is_some_and(|short| flag.strip_prefix('-') == Some(&short.to_string()));
    long || short
}

fn of_place(plain: &[String], open: Option<&str>, last: &str) -> Wanted {
    let definition = Arguments::definition();
    let command = plain.first().and_then(|name| definition.find_subcommand(name));
    let argument = match open {
        Some(flag) => definition
            .get_arguments()
            .chain(command.into_iter().flat_map(clap::Command::get_arguments))
            .find(|argument| is_called(argument, flag)),
        None if last.starts_with('-') => return Wanted::Words(flags(&definition, command)),
        None if plain.is_empty() => return Wanted::Words(commands(&definition)),
        None => command.and_then(|command| command.get_positionals().nth(plain.len() - 1)),
    };
    let Some(argument) = argument else {
        return Wanted::Nothing;
    };
    let values = argument.get_possible_values();
    if !values.is_empty() {
        return Wanted::Words(
            values
                .iter()
                .map(|value| (value.get_name().to_owned(), String::new()))
                .collect(),
        );
    }
    match argument.get_id().as_str() {
        "policy" => Wanted::Policy,
        "incident" => Wanted::Incident,
        "to" => Wanted::Checkpoint,
        "at" => plain
            .get(1)
            .map_or(Wanted::Nothing, |policy| Wanted::Snapshot(policy.clone())),
        "file" | "folder" | "kubeconfig" => Wanted::File,
        _ => Wanted::Nothing,
    }
}

fn commands(definition: &clap::Command) -> Vec<(String, String)> {
    let shown = definition.get_subcommands().filter(|command| !command.is_hide_set());
    shown
        .map(|command| {
            let about = command.get_about().map(ToString::to_string).unwrap_or_default();
            (command.get_name().to_owned(), about)
        })
        .collect()
}

/// The flags of a command, the global ones included.
fn flags(definition: &clap::Command, command: Option<&clap::Command>) -> Vec<(String, String)> {
    let own = command.into_iter().flat_map(clap::Command::get_arguments);
    definition
        .get_arguments()
        .chain(own)
        .filter_map(|argument| {
            let about = argument.get_help().map(ToString::to_string).unwrap_or_default();
            Some((format!("--{}", argument.get_long()?), about))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(line: &str) -> Wanted {
        let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        wanted(&words).0
    }

    fn words(wanted: Wanted) -> Vec<String> {
        match wanted {
            Wanted::Words(words) => words.into_iter().map(|(word, _)| word).collect(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_place_on_the_line_says_what_is_wanted() {
        assert!(words(at("re")).contains(&"report".to_owned()));
        assert!(!words(at("")).contains(&"__complete".to_owned()));
        assert_eq!(at("report ran"), Wanted::Policy);
        assert_eq!(at("-n shop explain "), Wanted::Policy);
        assert_eq!(at("approve "), Wanted::Incident);
        assert_eq!(at("rollback ranker --to "), Wanted::Checkpoint);
        assert_eq!(at("report ranker --at "), Wanted::Snapshot("ranker".into()));
        assert_eq!(at("import -f "), Wanted::File);
        assert_eq!(at("rollback ranker --reason "), Wanted::Nothing);
        assert_eq!(
            words(at("report ranker -o ")),
            ["text", "markdown", "html", "json", "yaml"]
        );
        assert!(words(at("rollback --")).contains(&"--reason".to_owned()));
        assert_eq!(words(at("completion ")).len(), 5);
    }

    #[test]
    fn the_cluster_is_the_one_that_the_line_names() {
        let line = ["--context=far", "-n", "shop", "report", ""].map(str::to_owned);
        let (_, connection) = wanted(&line);
        assert_eq!(
            (connection.context.as_deref(), connection.namespace.as_deref()),
            (Some("far"), Some("shop"))
        );
    }

    #[test]
    fn every_shell_has_a_script_and_kubectl_a_program() {
        for shell in [
            CompletionFor::Bash,
            CompletionFor::Zsh,
            CompletionFor::Fish,
            CompletionFor::Powershell,
        ] {
            assert!(script(shell).contains("postmortem"), "{shell:?}");
        }
        assert!(script(CompletionFor::Kubectl).starts_with("#!/bin/sh\n"));
    }

    #[tokio::test]
    async fn kubectl_gets_a_line_a_word_and_a_directive() {
        let text = answer(&["post".to_owned()]).await;
        assert_eq!(text, "postmortem\tThe postmortem of a rollback, Markdown\n:4\n");
    }
}
