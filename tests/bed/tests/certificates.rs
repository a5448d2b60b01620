//! The bed's certificates say what the servers that read them need.

#![expect(clippy::unwrap_used, reason = "tests")]

use bed::certificates::{Authority, Identity, token_keys};
use x509_parser::extensions::GeneralName;
use x509_parser::pem::{Pem, parse_x509_pem};

fn parse(identity: &Identity) -> Pem {
    assert!(identity.key.starts_with("-----BEGIN PRIVATE KEY-----"));
    parse_x509_pem(identity.certificate.as_bytes()).unwrap().1
}

#[test]
fn the_authority_may_sign_and_nothing_else() {
    let pem = parse(&Authority::new().unwrap().identity());
    let certificate = pem.parse_x509().unwrap();
    assert!(certificate.is_ca());
    let usage = certificate.key_usage().unwrap().unwrap().value;
    assert!(usage.key_cert_sign() && usage.crl_sign() && !usage.digital_signature());
}

#[test]
fn the_server_certificate_is_for_this_machine_and_the_kubernetes_service() {
    let authority = Authority::new().unwrap();
    let pem = parse(&authority.server().unwrap());
    let certificate = pem.parse_x509().unwrap();
    let usage = certificate.extended_key_usage().unwrap().unwrap().value;
    assert!(usage.server_auth && !usage.client_auth && !certificate.is_ca());
    let names = &certificate
        .subject_alternative_name()
        .unwrap()
        .unwrap()
        .value
        .general_names;
    for wanted in [
        GeneralName::IPAddress(&[127, 0, 0, 1]),
        GeneralName::IPAddress(&[10, 0, 0, 1]),
        GeneralName::DNSName("localhost"),
        GeneralName::DNSName("kubernetes.default.svc"),
    ] {
        assert!(names.contains(&wanted), "{wanted} is not in {names:?}");
    }
    let issuer = parse(&authority.identity());
    assert_eq!(certificate.issuer(), issuer.parse_x509().unwrap().subject());
}

#[test]
fn a_client_certificate_names_its_user_and_group() {
    let authority = Authority::new().unwrap();
    let pem = parse(&authority.client("someone", Some("system:masters")).unwrap());
    let certificate = pem.parse_x509().unwrap();
    let usage = certificate.extended_key_usage().unwrap().unwrap().value;
    assert!(usage.client_auth && !usage.server_auth);
    let subject = certificate.subject();
    assert_eq!(subject.iter_common_name().next().unwrap().as_str().unwrap(), "someone");
    assert_eq!(
        subject.iter_organization().next().unwrap().as_str().unwrap(),
        "system:masters"
    );
    let alone = parse(&authority.client("system:kube-scheduler", None).unwrap());
    assert!(
        alone
            .parse_x509()
            .unwrap()
            .subject()
            .iter_organization()
            .next()
            .is_none()
    );
}

#[test]
fn token_keys_are_a_private_and_a_public_key() {
    let (private, public) = token_keys().unwrap();
    assert!(private.starts_with("-----BEGIN PRIVATE KEY-----"));
    assert!(public.starts_with("-----BEGIN PUBLIC KEY-----"));
}
