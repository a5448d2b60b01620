//! Which images must not come back: what rollbacks took away, until a person releases it. Pure.

use std::collections::BTreeSet;

use crate::incident::digest;

/// The most entries that are kept, the newest ones: a status is bounded.
pub const MAX_ENTRIES: usize = 50;

/// An image that a rollback took away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quarantined {
    /// The image, as the pod template named it.
    pub image: String,
    /// The digest that its pods ran, where that is known.
    pub digest: Option<String>,
    /// The incident whose rollback it was.
    pub incident: String,
    /// What it did, in a few words.
    pub reason: String,
    /// When it was taken away, unix seconds.
    pub since: i64,
}

impl Quarantined {
    /// Whether a pod template that names `image` names this one: by the very name, or by its digest in whatever
    /// repository. The admission policy compares in the same way.
    pub fn is(&self, image: &str) -> bool {
        self.image == image || self.digest.is_some() && self.digest.as_deref() == digest(image)
    }

    /// Whether a person who writes `wanted` means this one: the image, its digest, or the beginning of the digest.
    pub fn is_meant_by(&self, wanted: &str) -> bool {
        let wanted = wanted.trim_end_matches('…');
        let begins = |known: &str| wanted.len() > "sha256:".len() && known.starts_with(wanted);
        self.is(wanted) || self.digest.as_deref().is_some_and(begins)
    }
}

/// The entry that an image stands in, if it does.
pub fn find<'a>(entries: &'a [Quarantined], image: &str) -> Option<&'a Quarantined> {
    entries.iter().find(|entry| entry.is(image))
}

/// What an incident's rollback took away, and what of it was released since.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TakenAway {
    /// The entries.
    pub entries: Vec<Quarantined>,
    /// The images (as in the entries) that a person released.
    pub released: BTreeSet<String>,
}

/// The quarantine after these incidents, oldest first. An entry leaves it by a release and in no other way; one whose
/// incident is not on record any more stays.
pub fn merge(known: &[Quarantined], incidents: &[TakenAway]) -> Vec<Quarantined> {
    let is_released = |entry: &Quarantined| {
        incidents.iter().any(|taken| {
            taken.entries.iter().any(|other| other.incident == entry.incident) && taken.released.contains(&entry.image)
        })
    };
    let mut kept: Vec<Quarantined> = known.iter().filter(|entry| !is_released(entry)).cloned().collect();
    for entry in incidents.iter().flat_map(|taken| &taken.entries) {
        let stands = kept
            .iter()
            .any(|other| other.incident == entry.incident && other.image == entry.image);
        if !stands && !is_released(entry) {
            kept.push(entry.clone());
        }
    }
    kept.sort_by(|a, b| (a.since, &a.incident, &a.image).cmp(&(b.since, &b.incident, &b.image)));
    let surplus = kept.len().saturating_sub(MAX_ENTRIES);
    kept.drain(..surplus);
    kept
}

/// What a person asks to be released: an image, a digest or the beginning of one, and perhaps the incident.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageRelease<'a> {
    /// The image.
    pub image: &'a str,
    /// Only what this incident took away.
    pub incident: Option<&'a str>,
}

impl<'a> ImageRelease<'a> {
    /// As the annotation has it: `IMAGE` or `IMAGE INCIDENT`.
    pub fn read(text: &'a str) -> Self {
        let mut words = text.split_whitespace();
        Self {
            image: words.next().unwrap_or_default(),
            incident: words.next(),
        }
    }

    /// Whether this entry is meant.
    pub fn means(&self, entry: &Quarantined) -> bool {
        entry.is_meant_by(self.image) && self.incident.is_none_or(|incident| incident == entry.incident)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest_of(digit: char) -> String {
        format!("sha256:{}", digit.to_string().repeat(64))
    }

    fn entry(image: &str, digit: char, incident: &str, since: i64) -> Quarantined {
        Quarantined {
            image: image.into(),
            digest: Some(digest_of(digit)),
            incident: incident.into(),
            reason: "error rate 3.10%".into(),
            since,
        }
    }

    fn taken(entry: &Quarantined, released: bool) -> TakenAway {
        TakenAway {
            entries: vec![entry.clone()],
            released: released.then(|| entry.image.clone()).into_iter().collect(),
        }
    }

    #[test]
    fn an_image_is_found_by_its_name_and_by_its_digest_in_any_repository() {
        let entries = [entry("repo/ranker:v2", 'b', "ranker-1", 10)];
        for (image, found) in [
            ("repo/ranker:v2".to_owned(), true),
            (format!("repo/ranker@{}", digest_of('b')), true),
            (format!("mirror/ranker:v9@{}", digest_of('b')), true),
            ("repo/ranker:v3".to_owned(), false),
            (format!("repo/ranker@{}", digest_of('c')), false),
            (String::new(), false),
        ] {
            assert_eq!(find(&entries, &image).is_some(), found, "{image}");
        }
        let unknown = [Quarantined {
            digest: None,
            ..entries[0].clone()
        }];
        assert!(find(&unknown, "repo/ranker:v1").is_none());
    }

    #[test]
    fn a_release_means_an_image_by_name_digest_or_the_beginning_of_a_digest() {
        let entry = entry("repo/ranker:v2", 'b', "ranker-1", 10);
        for (text, meant) in [
            ("repo/ranker:v2", true),
            ("repo/ranker:v2 ranker-1", true),
            ("repo/ranker:v2 ranker-2", false),
            ("sha256:bbbb…", true),
            ("sha256:bbbb", true),
            ("sha256:", false),
            ("sha256:cccc", false),
            ("", false),
            ("repo/ranker", false),
        ] {
            assert_eq!(ImageRelease::read(text).means(&entry), meant, "{text:?}");
        }
    }

    #[test]
    fn an_entry_leaves_only_by_a_release_also_when_its_incident_is_gone() {
        let (one, two) = (entry("a", 'a', "i-1", 10), entry("b", 'b', "i-2", 20));
        let both = merge(&[], &[taken(&one, false), taken(&two, false)]);
        assert_eq!(both, [one.clone(), two.clone()]);
        assert_eq!(merge(&both, &[taken(&one, false), taken(&two, false)]), both);
        assert_eq!(merge(&both, &[]), both, "records may be pruned");
        assert_eq!(
            merge(&both, &[taken(&one, true), taken(&two, false)]),
            std::slice::from_ref(&two)
        );
        // The same image, taken away again later, stands again.
        let again = entry("a", 'a', "i-3", 30);
        let kept = merge(
            std::slice::from_ref(&two),
            &[taken(&one, true), taken(&two, false), taken(&again, false)],
        );
        assert_eq!(kept, [two, again]);
    }

    #[test]
    fn only_the_newest_entries_are_kept() {
        let all: Vec<Quarantined> = (0..60).map(|at| entry(&format!("i{at}"), 'a', "i", at)).collect();
        let kept = merge(&all, &[]);
        assert_eq!((kept.len(), kept[0].since), (MAX_ENTRIES, 10));
    }
}
