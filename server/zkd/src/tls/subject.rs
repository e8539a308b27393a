//! The subject of a certificate as a text: the id under scheme `x509`.
//!
//! It is compared with what stands in access control lists, so it has to be what ZooKeeper makes of it: Java's
//! `X500Principal.getName()`, which is RFC 2253 with a few habits of its own.

use std::fmt::Write as _;

use x509_parser::prelude::{AttributeTypeAndValue, FromDer as _, X509Certificate, X509Name};

/// The subject of a certificate in DER; `None` if that is no certificate.
pub fn of(certificate: &[u8]) -> Option<String> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    text(certificate.subject())
}

fn text(name: &X509Name<'_>) -> Option<String> {
    let mut parts = Vec::new();
    for part in name.iter_rdn() {
        let attributes: Option<Vec<String>> = part.iter().map(attribute).collect();
        parts.push(attributes?.join("+"));
    }
    parts.reverse();
    Some(parts.join(","))
}

/// `None` if the value is longer than any that a certificate has.
fn attribute(attribute: &AttributeTypeAndValue<'_>) -> Option<String> {
    let oid = attribute.attr_type().to_id_string();
    let value = attribute.attr_value();
    let tag = u8::try_from(value.tag().0).ok()?;
    let keyword = keyword(&oid);
    let name = keyword.unwrap_or(&oid);
    if keyword.is_some() && is_text(tag) {
        return Some(format!("{name}={}", escaped(&String::from_utf8_lossy(value.data))));
    }
    let mut text = format!("{name}=#{tag:02x}{}", length(value.data.len())?);
    value.data.iter().try_for_each(|byte| write!(text, "{byte:02x}")).ok()?;
    Some(text)
}

/// Those that RFC 2253 names. Java writes every other type as its number, and the value in hex then.
fn keyword(oid: &str) -> Option<&'static str> {
    Some(match oid {
        "2.5.4.3" => "CN",
        "2.5.4.6" => "C",
        "2.5.4.7" => "L",
        "2.5.4.8" => "ST",
        "2.5.4.9" => "STREET",
        "2.5.4.10" => "O",
        "2.5.4.11" => "OU",
        "0.9.2342.19200300.100.1.25" => "DC",
        "0.9.2342.19200300.100.1.1" => "UID",
        _ => return None,
    })
}

/// UTF8String, PrintableString, T61String, IA5String, GeneralString, UniversalString and BMPString. Java takes the
/// bytes of all of them for UTF-8.
fn is_text(tag: u8) -> bool {
    matches!(tag, 12 | 19 | 20 | 22 | 27 | 28 | 30)
}

fn escaped(value: &str) -> String {
    let is_space = |c: char| c == ' ' || c == '\r';
    let (lead, trail) =
        (value.len() - value.trim_start_matches(is_space).len(), value.trim_end_matches(is_space).len());
    let mut text = String::with_capacity(value.len());
    for (at, c) in value.char_indices() {
        if c == '\0' {
            text.push_str("\\00");
            continue;
        }
        if ",=+<>#;\"\\".contains(c) || at < lead || at >= trail {
            text.push('\\');
        }
        text.push(c);
    }
    text
}

/// A length as in DER, in hex.
fn length(len: usize) -> Option<String> {
    Some(match len {
        0..0x80 => format!("{len:02x}"),
        0x80..0x100 => format!("81{len:02x}"),
        0x100..0x1_0000 => format!("82{len:04x}"),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `new X500Principal(bytes).getName()` of Java 17 says.
    const JAVA: &str = include_str!("testdata/subjects.txt");

    #[test]
    fn subjects_are_written_as_java_does() {
        for line in JAVA.lines().filter(|line| !line.starts_with('#')) {
            let (hex, expected) = line.split_once('\t').expect("bytes and text");
            let bytes: Vec<u8> = (0..hex.len())
                .step_by(2)
                .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap())
                .collect();
            let (_, name) = X509Name::from_der(&bytes).unwrap();
            let expected = expected.replace("<LF>", "\n");
            assert_eq!(text(&name).as_deref(), Some(expected.as_str()), "{hex}");
        }
    }

    #[test]
    fn what_is_no_certificate_has_no_subject() {
        assert_eq!(of(b""), None);
        assert_eq!(of(&[0x30, 0x03, 2, 1, 1]), None);
    }
}
