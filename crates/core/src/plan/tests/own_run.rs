//! Whose run it is that the template names. Image a was registered with the run `good`; image b came with the run `bad`.

use super::*;
use crate::plan::{RunOf, Sighting, Witness, baseline, own_run};

fn seen(by: Witness, run: Option<&str>, image: ContainerImage, since: i64) -> Sighting {
    Sighting {
        by,
        run: run.map(str::to_owned),
        images: vec![image],
        since,
    }
}

fn template(run: &str, digit: char, since: i64) -> Sighting {
    seen(Witness::Template, Some(run), image(digit), since)
}

fn tagged(tag: &str) -> ContainerImage {
    ContainerImage {
        container: "server".into(),
        image: format!("registry.example/ranker:{tag}"),
    }
}

fn registered(digit: char, run: Option<&str>) -> Candidate {
    Candidate {
        run: run.map(|run| RunOf {
            run_id: run.into(),
            dataset_digest: None,
        }),
        ..candidate("good", digit, NOW - 600)
    }
}

/// What the checkpoint of image a says of it.
fn checkpoint(run: Option<&str>) -> Sighting {
    seen(Witness::Template, run, image('a'), NOW - 800)
}

/// What the incident of image b says: of the release in breach, and of the checkpoint that was there before.
fn breached() -> Vec<Sighting> {
    vec![
        seen(Witness::Incident, Some("bad"), image('b'), NOW - 90),
        seen(Witness::Incident, None, image('a'), NOW - 600),
    ]
}

/// This image runs, its template names this run, and this is on record.
fn runs(image: ContainerImage, named: &str, sightings: Vec<Sighting>) -> Observed {
    Observed {
        images: vec![("server".into(), image.image.clone())],
        running: vec![image],
        template_run: Some(named.into()),
        candidates: vec![registered('a', Some("good"))],
        sightings,
        ..observed()
    }
}

fn own(observed: &Observed) -> Option<String> {
    own_run(observed).map(|run| run.run_id)
}

/// The templates: a by a tag, b, then a again by the rollback and by what came after it.
fn templates() -> Vec<Sighting> {
    vec![
        seen(Witness::Template, Some("good"), tagged("v1"), NOW - 900),
        template("bad", 'b', NOW - 100),
        template("bad", 'a', NOW - 60),
        template("bad", 'a', NOW - 10),
    ]
}

fn all(more: Vec<Sighting>) -> Vec<Sighting> {
    [templates(), vec![checkpoint(Some("good"))], more].concat()
}

#[test]
fn who_goes_back_by_the_images_goes_back_to_their_run() {
    let without_pods = |observed: Observed| Observed {
        running: vec![],
        rollout_complete: false,
        ..observed
    };
    let rows = [
        ("after a rollback, a restart or an edited limit", all(breached())),
        ("an incident that is gone", all(vec![])),
        (
            "by hand, before anything was found",
            vec![
                checkpoint(Some("good")),
                template("bad", 'b', NOW - 100),
                template("bad", 'a', NOW - 60),
            ],
        ),
        (
            "templates that are gone",
            [
                breached(),
                vec![checkpoint(Some("good")), template("bad", 'a', NOW - 10)],
            ]
            .concat(),
        ),
        (
            "a pipeline that names the run before it ships the image",
            [vec![template("bad", 'a', NOW - 120)], all(breached())].concat(),
        ),
        (
            "a release in breach by a tag",
            vec![
                checkpoint(Some("good")),
                seen(Witness::Template, Some("bad"), tagged("v2"), NOW - 100),
                template("bad", 'a', NOW - 60),
            ],
        ),
    ];
    for (what, sightings) in rows {
        let back = runs(image('a'), "bad", sightings);
        assert_eq!(own(&back).as_deref(), Some("good"), "{what}");
        // Scaled to zero and back, or seen right after the change.
        assert_eq!(
            own(&without_pods(back)).as_deref(),
            Some("good"),
            "{what}, without pods"
        );
    }
}

#[test]
fn the_run_that_was_left_over_is_no_baseline_and_compares_nothing() {
    let mut back = runs(image('a'), "bad", all(breached()));
    let old = Candidate {
        certified: Some(NOW - 9_000),
        ..registered('c', Some("older"))
    };
    back.candidates.push(old);
    assert_eq!(baseline(&back).map(|run| run.run_id).as_deref(), Some("older"));
}

#[test]
fn a_checkpoint_without_a_run_has_none_after_a_rollback_either() {
    for candidates in [vec![registered('a', None)], vec![]] {
        let back = Observed {
            candidates,
            ..runs(image('a'), "bad", [templates(), breached()].concat())
        };
        assert_eq!(own(&back), None, "nobody knows");
    }
}

#[test]
fn a_release_in_breach_is_judged_by_its_own_run() {
    for sightings in [all(breached()), templates(), vec![]] {
        assert_eq!(own(&runs(image('b'), "bad", sightings)).as_deref(), Some("bad"));
    }
    let by_tag = Observed {
        images: vec![("server".into(), tagged("v2").image)],
        ..runs(image('b'), "bad", all(breached()))
    };
    assert_eq!(own(&by_tag).as_deref(), Some("bad"));
}

#[test]
fn a_persons_word_counts_for_what_runs() {
    let mut anew = all(breached());
    anew.push(template("evaluated-again", 'a', NOW - 5));
    assert_eq!(
        own(&runs(image('a'), "evaluated-again", anew)).as_deref(),
        Some("evaluated-again"),
        "a new run of the images that run"
    );
    assert_eq!(
        own(&runs(image('a'), "good", all(breached()))).as_deref(),
        Some("good"),
        "`kubectl rollout undo` brings the template back with its run"
    );
    assert_eq!(
        own(&runs(image('a'), "unheard-of", all(breached()))).as_deref(),
        Some("unheard-of"),
        "before anything has it on record"
    );
}

#[test]
fn a_new_image_takes_its_predecessors_run_over() {
    // The same model on a newer server; then that one is registered, too.
    let mut newer = all(vec![]);
    newer.push(template("good", 'c', NOW - 5));
    let mut upgraded = runs(image('c'), "good", newer);
    assert_eq!(own(&upgraded).as_deref(), Some("good"));
    upgraded.candidates.push(Candidate {
        certified: Some(NOW),
        ..registered('c', None)
    });
    assert_eq!(own(&upgraded).as_deref(), Some("good"));
    // Another model in the same image, by its arguments.
    let mut same_image = all(vec![]);
    same_image.push(template("other-model", 'a', NOW - 5));
    assert_eq!(
        own(&runs(image('a'), "other-model", same_image)).as_deref(),
        Some("other-model")
    );
}

#[test]
fn a_sidecar_that_is_changed_after_a_rollback_gives_the_run_of_before_nothing_back() {
    let proxy = |digit: char| ContainerImage {
        container: "proxy".into(),
        image: format!("registry.example/proxy@sha256:{}", digit.to_string().repeat(64)),
    };
    let both = |by, run, server, sidecar, since| Sighting {
        images: vec![image(server), proxy(sidecar)],
        ..seen(by, run, image(server), since)
    };
    let sightings = vec![
        both(Witness::Template, Some("good"), 'a', '1', NOW - 900),
        both(Witness::Incident, Some("bad"), 'b', '1', NOW - 90),
        both(Witness::Template, Some("bad"), 'a', '1', NOW - 60),
        both(Witness::Template, Some("bad"), 'a', '2', NOW - 10),
    ];
    let mut changed = runs(image('a'), "bad", sightings);
    changed.images.push(("proxy".into(), proxy('2').image));
    changed.running.push(proxy('2'));
    assert_ne!(own(&changed).as_deref(), Some("bad"));
    // A new model under the new sidecar has the run that it came with.
    changed.images[0].1 = image('c').image;
    changed.running[0] = image('c');
    assert_eq!(own(&changed).as_deref(), Some("bad"));
}
