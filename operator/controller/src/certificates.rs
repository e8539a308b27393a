//! The internal CA of an ensemble and the certificates that it signs. Pure, but for the keys' randomness.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType, date_time_ymd,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

/// PEM of a certificate and of its key.
#[derive(Clone, Debug)]
pub struct Pair {
    pub certificate: String,
    pub key: String,
}

const CA_YEARS: i64 = 10;
const LEAF_DAYS: i64 = 365;

/// A CA for this ensemble alone.
pub fn new_ca(common_name: &str, now: Timestamp) -> Result<Pair, rcgen::Error> {
    let mut params = params(common_name, now, CA_YEARS * 365);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let key = KeyPair::generate()?;
    Ok(Pair { certificate: params.self_signed(&key)?.pem(), key: key.serialize_pem() })
}

/// A certificate for both directions of mutual TLS.
pub fn new_leaf(ca: &Pair, uri: &str, host_names: &[String], now: Timestamp) -> Result<Pair, rcgen::Error> {
    let issuer = Issuer::from_ca_cert_pem(&ca.certificate, KeyPair::from_pem(&ca.key)?)?;
    let mut params = params(uri, now, LEAF_DAYS);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params.subject_alt_names = vec![SanType::URI(uri.try_into()?)];
    for name in host_names {
        params.subject_alt_names.push(SanType::DnsName(name.as_str().try_into()?));
    }
    params.use_authority_key_identifier_extension = true;
    let key = KeyPair::generate()?;
    Ok(Pair { certificate: params.signed_by(&key, &issuer)?.pem(), key: key.serialize_pem() })
}

/// Whether a certificate has to be made anew: unreadable, or two thirds of its time are over.
pub fn is_due(certificate_pem: &[u8], now: Timestamp) -> bool {
    let Ok(der) = CertificateDer::from_pem_slice(certificate_pem) else { return true };
    let Ok((_, certificate)) = x509_parser::parse_x509_certificate(&der) else { return true };
    let validity = certificate.validity();
    let (from, until) = (validity.not_before.timestamp(), validity.not_after.timestamp());
    now.as_second() >= from + (until - from) / 3 * 2
}

fn params(common_name: &str, now: Timestamp, days: i64) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    // X.509 allows a common name 64 characters; nobody reads this one, identity is the URI.
    params.distinguished_name.push(DnType::CommonName, common_name.chars().take(64).collect::<String>());
    // From yesterday on, for clocks that are behind ours.
    let (year, month, day) = date(now, -1);
    params.not_before = date_time_ymd(year, month, day);
    let (year, month, day) = date(now, days);
    params.not_after = date_time_ymd(year, month, day);
    params
}

/// Year, month and day, in UTC, this many days from now.
fn date(now: Timestamp, days: i64) -> (i32, u8, u8) {
    let then = now.as_second().saturating_add(days * 86_400);
    let date = Timestamp::from_second(then).unwrap_or(now).to_zoned(TimeZone::UTC).date();
    (i32::from(date.year()), date.month().unsigned_abs(), date.day().unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 86_400;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn a_leaf_works_for_both_sides_of_a_connection() {
        let now = Timestamp::now();
        let ca = new_ca("default/quickstart", now).unwrap();
        let uri = "zkensemble://default/quickstart/quickstart-0";
        let leaf = new_leaf(&ca, uri, &["quickstart-0".to_owned()], now).unwrap();
        let pem = [&ca.certificate, &leaf.certificate, &leaf.key].map(|pem| pem.as_bytes());
        zke_admin::tls::ClientIdentity::load(pem[0], pem[1], pem[2]).unwrap();
        zke_admin::tls::server_config(pem[0], pem[1], pem[2]).unwrap();
    }

    #[test]
    fn it_is_renewed_after_two_thirds_of_its_time() {
        let now = at(1_800_000_000);
        let ca = new_ca("ca", now).unwrap();
        let leaf = new_leaf(&ca, "zkensemble://a/b/c", &[], now).unwrap();
        let due = |days| is_due(leaf.certificate.as_bytes(), at(now.as_second() + days * DAY));
        assert!(!due(0));
        assert!(!due(240));
        assert!(due(245));
        assert!(is_due(b"garbage", now));
        assert!(!is_due(ca.certificate.as_bytes(), at(now.as_second() + 6 * 365 * DAY)));
    }
}
