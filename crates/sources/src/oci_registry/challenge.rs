//! What a registry asks for when it refuses a request (RFC 9110, section 11.6.1; the token flow of the distribution
//! specification).

/// Where to get a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Challenge {
    /// URL of the token server's endpoint.
    pub realm: String,
    /// What the token is for.
    pub service: Option<String>,
}

impl Challenge {
    /// `Bearer realm="https://…",service="…",scope="…"`; the scope is ours to say.
    pub fn bearer(text: &str) -> Option<Self> {
        let parameters = after_scheme(text, "bearer")?;
        let (mut realm, mut service) = (None, None);
        for (name, value) in pairs(parameters) {
            match name.to_ascii_lowercase().as_str() {
                "realm" => realm = Some(value),
                "service" => service = Some(value),
                _ => {}
            }
        }
        Some(Self { realm: realm?, service })
    }
}

/// Whether basic authentication is asked for.
pub fn is_basic(text: &str) -> bool {
    after_scheme(text, "basic").is_some()
}

fn after_scheme<'a>(text: &'a str, scheme: &str) -> Option<&'a str> {
    let text = text.trim_start();
    let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
    word.eq_ignore_ascii_case(scheme).then_some(rest)
}

/// `name="value"` or `name=value`, separated by commas; what is neither ends the list.
fn pairs(mut text: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    while let Some((name, rest)) = text.split_once('=') {
        let name = name.trim_matches([' ', ',', '\t']).to_owned();
        let (value, rest) = if let Some(quoted) = rest.strip_prefix('"') {
            let Some(found) = unquoted(quoted) else { break };
            found
        } else {
            let end = rest.find(',').unwrap_or(rest.len());
            (rest[..end].trim().to_owned(), &rest[end..])
        };
        found.push((name, value));
        text = rest;
    }
    found
}

fn unquoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => value.push(characters.next()?.1),
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_challenge_gives_realm_and_service_however_they_are_written() {
        let plain =
            "Bearer realm=\"https://auth.example/token\",service=\"registry.example\",scope=\"repository:a:pull\"";
        let expected = Challenge {
            realm: "https://auth.example/token".into(),
            service: Some("registry.example".into()),
        };
        assert_eq!(Challenge::bearer(plain), Some(expected.clone()));
        let odd = "bearer  scope=x , service=registry.example, REALM=\"https://auth.example/token\"";
        assert_eq!(Challenge::bearer(odd), Some(expected));
        let escaped = Challenge::bearer("Bearer realm=\"https://a.example/\\\"x,y\"").unwrap();
        assert_eq!(
            (escaped.realm.as_str(), escaped.service),
            ("https://a.example/\"x,y", None)
        );
        for none in [
            "",
            "Bearer",
            "Basic realm=\"x\"",
            "Bearer realm=\"open",
            "Bearer service=x",
            "Bearerrealm=x",
        ] {
            assert_eq!(Challenge::bearer(none), None, "{none}");
        }
        assert!(is_basic("Basic realm=\"bed\"") && is_basic("basic") && !is_basic("Bearer realm=x"));
    }
}
