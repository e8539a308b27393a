//! The form of a distinguished name, as `new X500Principal(text)` of Java takes it: what may stand behind `x509` in an
//! access control list.
//!
//! Only the form is checked. A name in another spelling than a certificate's own (RFC 2253, as ZooKeeper writes it) is
//! valid and never matches.

/// The types that Java knows by name.
const KEYWORDS: &[&str] = &[
    "CN",
    "C",
    "L",
    "S",
    "ST",
    "O",
    "OU",
    "T",
    "IP",
    "STREET",
    "DC",
    "DNQUALIFIER",
    "DNQ",
    "SURNAME",
    "GIVENNAME",
    "INITIALS",
    "GENERATION",
    "EMAIL",
    "EMAILADDRESS",
    "UID",
    "SERIALNUMBER",
];

/// Whether `text` is a distinguished name; the empty one is.
pub fn is_valid(text: &str) -> bool {
    text.is_empty() || parts(text).is_some_and(|parts| parts.into_iter().all(is_attribute))
}

/// What stands between commas, semicolons and plus signs that are neither quoted nor escaped; `None` if a quote or an
/// escape is not ended.
fn parts(text: &str) -> Option<Vec<&str>> {
    let (mut parts, mut start) = (Vec::new(), 0);
    let (mut quoted, mut escaped) = (false, false);
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => quoted = !quoted,
            ',' | ';' | '+' if !quoted => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    (!quoted && !escaped).then_some(parts)
}

fn is_attribute(text: &str) -> bool {
    let Some((name, value)) = text.split_once('=') else { return false };
    is_type(name.trim()) && is_value(value.trim_start())
}

fn is_type(name: &str) -> bool {
    let upper = name.to_ascii_uppercase();
    let number = upper.strip_prefix("OID.").unwrap_or(&upper);
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    KEYWORDS.contains(&upper.as_str()) || (number.contains('.') && number.split('.').all(is_number))
}

/// Hexadecimal behind a `#`, else any text whose escapes are of a special character or of two such digits.
fn is_value(value: &str) -> bool {
    if let Some(hex) = value.strip_prefix('#') {
        let hex = hex.trim_end();
        return !hex.is_empty()
            && hex.len().is_multiple_of(2)
            && hex.bytes().all(|byte| byte.is_ascii_hexdigit());
    }
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        if c == '\\' {
            match chars.next() {
                Some(first) if first.is_ascii_hexdigit() => {
                    if !chars.next().is_some_and(|second| second.is_ascii_hexdigit()) {
                        return false;
                    }
                }
                Some(special) if ",=+<>#;\"\\ ".contains(special) => {}
                _ => return false,
            }
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each was tried with Java 17.
    #[test]
    fn names_are_taken_as_java_does() {
        for text in [
            "",
            "CN=a",
            "cn=a",
            "CN = a",
            "CN=a;O=b",
            "CN=a+OU=b,C=c",
            "1.2.3=#0c0161",
            "OID.1.2.3=a",
            "1.2=a",
            "CN=a=b",
            "S=x",
            "DNQ=a",
            "CN=\\41",
            "CN=a\\,b",
            "CN=\"a,b\"",
            "CN=",
        ] {
            assert!(is_valid(text), "{text}");
        }
        for text in [
            "junk",
            "CN=a,",
            "FOO=a",
            "CN=a+",
            "=a",
            "CN",
            "CN=\"a",
            "CN=a\\",
            "CN=#zz",
            "CN=a,,O=b",
            ",CN=a",
            "CN=a\\zb",
        ] {
            assert!(!is_valid(text), "{text}");
        }
    }
}
