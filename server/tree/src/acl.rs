//! Who may do what: the one function that checks access, and the normal form in which lists are stored.
//!
//! The rules are those of ZooKeeper's `ZooKeeperServer.checkACL` and `PrepRequestProcessor.fixupACL`.

use std::net::IpAddr;

use foldhash::fast::RandomState;
use hashbrown::HashSet;
use zke_wire::{Acl, ErrorCode, Id, perms};

use crate::distinguished_name;

/// Whether a connection with these identities may read a node that has this list. For events at their delivery, too.
pub fn may_read(acl: &[Acl], identities: &[Id]) -> bool {
    allows(acl, perms::READ, identities)
}

/// Whether any of the permissions `needed` is given to one of the identities. An empty list, as imported nodes may
/// have, allows everything; so does the identity `super`.
pub(crate) fn allows(acl: &[Acl], needed: i32, identities: &[Id]) -> bool {
    acl.is_empty()
        || identities.iter().any(|identity| identity.scheme == "super")
        || acl.iter().any(|entry| {
            entry.perms & needed != 0
                && (is_anyone(&entry.id) || identities.iter().any(|identity| matches(identity, &entry.id)))
        })
}

pub(crate) fn check(acl: &[Acl], needed: i32, identities: &[Id]) -> Result<(), ErrorCode> {
    if allows(acl, needed, identities) { Ok(()) } else { Err(ErrorCode::NoAuth) }
}

/// The list to store for one that a client gave: without duplicates, `auth` replaced by the identities of the
/// connection that can stand in a list.
///
/// # Errors
/// [`ErrorCode::InvalidAcl`] for an empty list, an id that its scheme does not know, an unknown scheme, and `auth`
/// on a connection that has not authenticated.
pub(crate) fn stored_form(acl: &[Acl], identities: &[Id]) -> Result<Vec<Acl>, ErrorCode> {
    let mut stored: Vec<Acl> = Vec::with_capacity(acl.len());
    // A frame holds a hundred thousand entries: too many to compare each with each.
    let mut seen: HashSet<&Acl, RandomState> = HashSet::default();
    for entry in acl {
        if acl.len() > 1 && !seen.insert(entry) {
            continue;
        }
        if entry.id.scheme != "auth" {
            if !is_valid(&entry.id) {
                return Err(ErrorCode::InvalidAcl);
            }
            stored.push(entry.clone());
            continue;
        }
        let before = stored.len();
        let authenticated = identities.iter().filter(|identity| is_authenticated(identity));
        stored.extend(authenticated.map(|identity| Acl { perms: entry.perms, id: identity.clone() }));
        if stored.len() == before {
            return Err(ErrorCode::InvalidAcl);
        }
    }
    if stored.is_empty() { Err(ErrorCode::InvalidAcl) } else { Ok(stored) }
}

/// What getACL shows to those who may not administer the node: names, but no password digests.
pub(crate) fn masked(acl: &[Acl]) -> Vec<Acl> {
    let mask = |entry: &Acl| {
        let user = entry.id.id.split_once(':').filter(|_| entry.id.scheme == "digest").map(|(user, _)| user);
        match user {
            Some(user) => Acl { perms: entry.perms, id: Id::new("digest", format!("{user}:x")) },
            None => entry.clone(),
        }
    };
    acl.iter().map(mask).collect()
}

fn is_anyone(id: &Id) -> bool {
    id.scheme == "world" && id.id == "anyone"
}

/// Whether an identity came from authentication, rather than from where the connection comes.
fn is_authenticated(identity: &Id) -> bool {
    matches!(identity.scheme.as_str(), "digest" | "sasl" | "x509")
}

fn is_valid(id: &Id) -> bool {
    match id.scheme.as_str() {
        "world" => id.id == "anyone",
        // As upstream splits it: nothing may stand before the colon, but something must stand behind it.
        "digest" => {
            matches!(id.id.split_once(':'), Some((_, digest)) if !digest.is_empty() && !digest.contains(':'))
        }
        "ip" => Network::parse(&id.id).is_some(),
        "sasl" => is_principal(&id.id),
        "x509" => distinguished_name::is_valid(&id.id),
        _ => false,
    }
}

/// Whether Kerberos could call somebody so, which ZooKeeper asks of every name under `sasl`: no realm, or one behind a
/// service and at most a host.
fn is_principal(name: &str) -> bool {
    match name.split_once('@') {
        None => true,
        Some((name, realm)) => !realm.contains(['@', '/']) && name.matches('/').count() <= 1,
    }
}

fn matches(identity: &Id, pattern: &Id) -> bool {
    if identity.scheme != pattern.scheme {
        return false;
    }
    match identity.scheme.as_str() {
        "digest" | "x509" => identity.id == pattern.id,
        // The user of that name is everyone to this scheme.
        "sasl" => identity.id == pattern.id || identity.id == "super",
        "ip" => match (identity.id.parse(), Network::parse(&pattern.id)) {
            (Ok(address), Some(network)) => network.contains(address),
            _ => false,
        },
        _ => false,
    }
}

/// An address, or a CIDR block whose bits behind the prefix are ignored.
struct Network {
    address: IpAddr,
    prefix_len: u32,
}

impl Network {
    fn parse(text: &str) -> Option<Self> {
        let (address, prefix_len) = match text.split_once('/') {
            Some((address, prefix_len)) => (address.parse().ok()?, Some(prefix_len.parse().ok()?)),
            None => (text.parse().ok()?, None),
        };
        let width = if matches!(address, IpAddr::V4(_)) { 32 } else { 128 };
        let prefix_len = prefix_len.unwrap_or(width);
        (prefix_len <= width).then_some(Self { address, prefix_len })
    }

    fn contains(&self, address: IpAddr) -> bool {
        let differing = match (self.address, address) {
            (IpAddr::V4(ours), IpAddr::V4(theirs)) => (ours.to_bits() ^ theirs.to_bits()).leading_zeros(),
            (IpAddr::V6(ours), IpAddr::V6(theirs)) => (ours.to_bits() ^ theirs.to_bits()).leading_zeros(),
            _ => return false,
        };
        differing >= self.prefix_len
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(perms: i32, scheme: &str, id: &str) -> Acl {
        Acl { perms, id: Id::new(scheme, id) }
    }

    #[test]
    fn ip_blocks() {
        let reads = |pattern: &str, address: &str| {
            may_read(&[entry(perms::READ, "ip", pattern)], &[Id::new("ip", address)])
        };
        assert!(reads("10.1.2.3", "10.1.2.3"));
        assert!(!reads("10.1.2.3", "10.1.2.4"));
        assert!(reads("10.1.2.3/16", "10.1.9.9"));
        assert!(!reads("10.1.2.3/16", "10.2.2.3"));
        assert!(reads("10.1.2.3/0", "99.9.9.9"));
        assert!(!reads("10.1.2.3/0", "::1"));
        assert!(reads("2001:db8::/32", "2001:db8:1::1"));
        assert!(!reads("2001:db8::/32", "2001:db9::1"));
    }

    #[test]
    fn ids_that_their_scheme_does_not_know_are_invalid() {
        let bad = [
            ("world", "everyone"),
            ("digest", "user"),
            ("digest", "a:b:c"),
            ("digest", "a:"),
            ("ip", "localhost"),
            ("ip", "10.0.0.0/33"),
            ("ip", "::/129"),
            ("ip", "1.2.3"),
            ("super", ""),
            ("sasl", "a/b/c@R"),
            ("sasl", "a@b@c"),
            ("sasl", "a@b/c"),
            ("x509", "junk"),
            ("auth ", ""),
            ("", ""),
        ];
        for (scheme, id) in bad {
            let acl = [entry(perms::ALL, scheme, id)];
            assert_eq!(stored_form(&acl, &[]), Err(ErrorCode::InvalidAcl), "{scheme}:{id}");
        }
        let good = [
            ("digest", ":b"),
            ("ip", "::/128"),
            ("ip", "1.2.3.4/0"),
            ("world", "anyone"),
            ("sasl", "a"),
            ("sasl", ""),
            ("sasl", "a/b/c"),
            ("sasl", "a/b@R"),
            ("x509", "CN=a,O=b"),
        ];
        for (scheme, id) in good {
            assert!(stored_form(&[entry(perms::ALL, scheme, id)], &[]).is_ok(), "{scheme}:{id}");
        }
    }

    #[test]
    fn auth_becomes_every_authenticated_identity() {
        let auth = [entry(perms::READ, "auth", "ignored"), entry(perms::READ, "auth", "ignored")];
        let ip = Id::new("ip", "10.0.0.1");
        assert_eq!(stored_form(&auth, &[ip.clone(), Id::new("super", "")]), Err(ErrorCode::InvalidAcl));
        let names = [("digest", "a:1"), ("sasl", "al"), ("x509", "CN=a")];
        let identities: Vec<Id> =
            [ip].into_iter().chain(names.map(|(scheme, id)| Id::new(scheme, id))).collect();
        let expected = names.map(|(scheme, id)| entry(perms::READ, scheme, id)).to_vec();
        assert_eq!(stored_form(&auth, &identities), Ok(expected));
    }

    #[test]
    fn proven_names_match_themselves() {
        let reads = |scheme: &str, name: &str, pattern: &str| {
            may_read(&[entry(perms::READ, scheme, pattern)], &[Id::new(scheme, name)])
        };
        assert!(reads("x509", "CN=a", "CN=a") && !reads("x509", "CN=a", "cn=a"));
        assert!(reads("sasl", "al", "al") && !reads("sasl", "al", "bo") && reads("sasl", "super", "bo"));
        assert!(!reads("x509", "super", "CN=a") && !reads("digest", "super", "bo:x"));
        assert!(!may_read(&[entry(perms::READ, "sasl", "al")], &[Id::new("digest", "al")]));
    }

    #[test]
    fn masking_hides_password_digests_only() {
        let acl = [entry(perms::READ, "digest", "user:secret"), entry(perms::ALL, "ip", "::1")];
        assert_eq!(masked(&acl), [entry(perms::READ, "digest", "user:x"), entry(perms::ALL, "ip", "::1")]);
    }
}
