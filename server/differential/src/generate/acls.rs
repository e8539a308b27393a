//! Who may do what, and who clients say they are.

use bytes::Bytes;
use rand::Rng as _;
use rand::seq::IndexedRandom as _;
use zke_wire::{Acl, Id, Request, perms};

use super::{Maker, Theme};

/// The digests of `u1:p1` and `u2:p2`.
const USER_1: &str = "u1:fpT/y03U+EjItKZOSLGvjnJlyng=";
const USER_2: &str = "u2:o9NxcCGDPOlcV7JVhmKHOf5ctVE=";

/// Not of sasl and x509, which only one of the servers takes before it is told of such users.
const IDS: [(&str, &str); 28] = [
    ("world", "anyone"),
    ("world", "anyone"),
    ("auth", ""),
    ("auth", "ignored"),
    ("auth", ""),
    ("digest", USER_1),
    ("digest", USER_1),
    ("digest", USER_2),
    ("ip", "127.0.0.1"),
    ("ip", "127.0.0.0/8"),
    ("ip", "10.0.0.0/8"),
    ("ip", "127.0.0.1/33"),
    ("ip", "localhost"),
    ("ip", "1.2.3"),
    ("ip", "::1"),
    ("ip", "::/0"),
    ("world", "somebody"),
    ("world", ""),
    ("digest", "nobody"),
    ("digest", "a:b:c"),
    ("digest", "a:"),
    ("digest", ":b"),
    ("digest", ""),
    ("super", ""),
    ("super", "super"),
    ("bogus", "x"),
    ("", ""),
    ("ip", ""),
];

/// Schemes and credentials of auth requests.
const CREDENTIALS: [(&str, &str); 16] = [
    ("digest", "u1:p1"),
    ("digest", "u1:p1"),
    ("digest", "u1:p1"),
    ("digest", "u2:p2"),
    ("digest", "u2:p2"),
    ("digest", "u1:wrong"),
    ("digest", "super:secret"),
    ("digest", "super:wrong"),
    ("digest", "nocolon"),
    ("digest", ""),
    ("digest", "a:b:c"),
    ("ip", "127.0.0.1"),
    ("bogus", "x"),
    ("world", "anyone"),
    ("auth", ""),
    ("super", "x"),
];

impl Maker<'_> {
    pub fn acl(&mut self) -> Vec<Acl> {
        let plain = if self.theme == Theme::Access { 3 } else { 9 };
        if self.theme.sets_watches_anew() {
            // Empty lists are refused.
            return Some(Acl::open()).into_iter().filter(|_| self.random.random_ratio(29, 30)).collect();
        }
        if self.random.random_ratio(plain, 10) {
            return vec![Acl::open()];
        }
        let len = *[0, 1, 1, 1, 1, 2, 2, 3].choose(&mut self.random).unwrap_or(&1);
        let mut acl: Vec<Acl> = (0..len).map(|_| self.entry()).collect();
        if self.random.random_ratio(1, 6) {
            acl.extend(acl.first().cloned());
        }
        acl
    }

    pub fn auth(&mut self) -> Request {
        let (scheme, auth) = *CREDENTIALS.choose(&mut self.random).unwrap_or(&("", ""));
        Request::Auth { scheme: scheme.to_owned(), auth: Bytes::from_static(auth.as_bytes()) }
    }

    fn entry(&mut self) -> Acl {
        // What is wrong in itself makes a list invalid as a whole, so it is rarer than its part of the names.
        let names = if self.random.random_ratio(2, 3) { &IDS[..11] } else { &IDS[..] };
        let (scheme, id) = *names.choose(&mut self.random).unwrap_or(&("world", "anyone"));
        let perms = match self.random.random_range(0..10) {
            0..3 => perms::ALL,
            3 => perms::READ,
            4 => perms::READ | perms::ADMIN,
            5 => perms::ALL & !perms::READ,
            6 => *[0, 32, -1, i32::MIN].choose(&mut self.random).unwrap_or(&0),
            _ => self.random.random_range(0..=perms::ALL),
        };
        Acl { perms, id: Id::new(scheme, id) }
    }
}
