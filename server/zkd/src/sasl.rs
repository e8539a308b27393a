//! SASL DIGEST-MD5 (RFC 2831) as ZooKeeper's server speaks it: one challenge, one response, no layer of encryption.
//!
//! A nonce is random and good for one response. What is compared with a secret is compared in constant time, and an
//! unknown user costs as much as a wrong password. Whoever authenticates is that user: a client may name another one to
//! act for (`authzid`), as Java's does with its own name, and gains nothing by it.
//!
//! Draws no randomness: the nonce comes in.

use md5::{Digest as _, Md5};
use subtle::ConstantTimeEq as _;

use crate::config::Secret;
use crate::jaas::Users;

/// ZooKeeper names itself so to every mechanism, whatever the host is called.
const REALM: &str = "zk-sasl-md5";
const DIGEST_URI: &str = "zookeeper/zk-sasl-md5";
/// As long as Java's server takes.
const RESPONSE_MAX_BYTES: usize = 4_096;

/// The state of one connection's only exchange.
#[derive(Debug, Default)]
pub enum Exchange {
    #[default]
    NotBegun,
    Challenged {
        nonce: String,
    },
    /// Succeeded or failed; a connection authenticates once.
    Over,
}

/// What to answer.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    Challenge(String),
    Authenticated { user: String, answer: String },
}

/// Why a client is not who it says. Nothing of what it sent is in the message: that may be part of a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SaslError {
    #[error("cannot authenticate by SASL: the response is malformed or lacks {0}")]
    Malformed(&'static str),
    #[error(
        "cannot authenticate by SASL: the response answers another challenge or asks for what is not offered: {0}"
    )]
    Mismatch(&'static str),
    #[error("cannot authenticate by SASL: unknown user or wrong password")]
    Denied,
    #[error("cannot authenticate by SASL again: a connection does so once")]
    Over,
}

impl Exchange {
    /// Takes what the client sent. `fresh_nonce` is used for the challenge; `find` gives a user's password.
    ///
    /// # Errors
    /// [`SaslError`]; the exchange is over then.
    pub fn step(
        &mut self,
        token: &[u8],
        fresh_nonce: impl FnOnce() -> String,
        users: &Passwords<'_>,
    ) -> Result<Step, SaslError> {
        match std::mem::replace(self, Self::Over) {
            // What comes along with the first token is passed over, as ZooKeeper does.
            Self::NotBegun => {
                let nonce = fresh_nonce();
                let challenge =
                    format!("realm=\"{REALM}\",nonce=\"{nonce}\",charset=utf-8,algorithm=md5-sess");
                *self = Self::Challenged { nonce };
                Ok(Step::Challenge(challenge))
            }
            Self::Challenged { nonce } => Response::parse(token)?.verify(&nonce, users),
            Self::Over => Err(SaslError::Over),
        }
    }
}

/// Whose password is what.
#[derive(Clone, Copy)]
pub struct Passwords<'a> {
    pub users: &'a Users,
    /// Of the user `super`, if it is set apart from the file.
    pub of_super: Option<&'a Secret>,
}

impl Passwords<'_> {
    fn of(&self, user: &str) -> Option<&str> {
        // As in ZooKeeper, whoever has no line in the file is nobody.
        let listed = self.users.get(user)?;
        let password = self.of_super.filter(|_| user == "super").unwrap_or(listed);
        Some(password.reveal())
    }
}

/// A client's digest-response.
struct Response {
    user: String,
    realm: String,
    nonce: String,
    nonce_count: String,
    cnonce: String,
    uri: String,
    quality: String,
    authzid: Option<String>,
    digest: String,
}

impl Response {
    fn parse(token: &[u8]) -> Result<Self, SaslError> {
        if token.is_empty() || token.len() > RESPONSE_MAX_BYTES {
            return Err(SaslError::Malformed("a directive"));
        }
        let directives = Directives::parse(token).ok_or(SaslError::Malformed("a closing quote"))?;
        let text = |name: &'static str| directives.text(name).ok_or(SaslError::Malformed(name));
        Ok(Self {
            user: text("username")?,
            realm: directives.text("realm").unwrap_or_default(),
            nonce: text("nonce")?,
            nonce_count: text("nc")?,
            cnonce: text("cnonce")?,
            uri: text("digest-uri")?,
            quality: directives.text("qop").unwrap_or_else(|| "auth".to_owned()),
            authzid: directives.text("authzid"),
            digest: text("response")?,
        })
    }

    fn verify(self, nonce: &str, passwords: &Passwords<'_>) -> Result<Step, SaslError> {
        if !bool::from(self.nonce.as_bytes().ct_eq(nonce.as_bytes())) {
            return Err(SaslError::Mismatch("nonce"));
        }
        let fixed = [
            (self.realm == REALM, "realm"),
            (self.nonce_count == "00000001", "nc"),
            (self.quality == "auth", "qop"),
            (self.uri.eq_ignore_ascii_case(DIGEST_URI), "digest-uri"),
        ];
        if let Some((_, what)) = fixed.into_iter().find(|(fits, _)| !fits) {
            return Err(SaslError::Mismatch(what));
        }
        let password = passwords.of(&self.user);
        let secret = self.secret(password.unwrap_or_default());
        let expected = self.digest_of("AUTHENTICATE", &secret);
        let fits = bool::from(expected.as_bytes().ct_eq(self.digest.as_bytes()));
        if password.is_none() || !fits {
            return Err(SaslError::Denied);
        }
        // With it, the server shows that it knows the password, too.
        let answer = format!("rspauth={}", self.digest_of("", &secret));
        Ok(Step::Authenticated { user: self.user, answer })
    }

    /// HA1 of the RFC, for algorithm md5-sess.
    fn secret(&self, password: &str) -> String {
        let credentials = [hashed(&self.user), hashed(&self.realm), hashed(password)].join(&b':');
        let mut session = Md5::new();
        session.update(Md5::digest(credentials));
        session.update(format!(":{}:{}", self.nonce, self.cnonce));
        if let Some(authzid) = &self.authzid {
            session.update(format!(":{authzid}"));
        }
        hex(&session.finalize())
    }

    fn digest_of(&self, method: &str, secret: &str) -> String {
        let Self { nonce, nonce_count, cnonce, quality, uri, .. } = self;
        let request = hex(&Md5::digest(format!("{method}:{uri}")));
        hex(&Md5::digest(format!("{secret}:{nonce}:{nonce_count}:{cnonce}:{quality}:{request}")))
    }
}

/// The bytes that are hashed for a text: one each for characters of ISO 8859-1 if it has no others.
fn hashed(text: &str) -> Vec<u8> {
    text.chars()
        .map(|c| u8::try_from(u32::from(c)).ok())
        .collect::<Option<_>>()
        .unwrap_or_else(|| text.as_bytes().to_vec())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// `name=value` or `name="value"`, with commas between.
struct Directives(Vec<(String, Vec<u8>)>);

impl Directives {
    fn parse(text: &[u8]) -> Option<Self> {
        let mut directives = Vec::new();
        let mut rest = text;
        loop {
            let skipped = rest.iter().take_while(|byte| matches!(byte, b' ' | b'\t' | b'\r' | b'\n' | b','));
            rest = &rest[skipped.count()..];
            if rest.is_empty() {
                return Some(Self(directives));
            }
            let end = rest.iter().position(|byte| *byte == b'=')?;
            let name = std::str::from_utf8(&rest[..end]).ok()?.trim().to_ascii_lowercase();
            let (value, after) = value(rest[end + 1..].trim_ascii_start())?;
            directives.push((name, value));
            rest = after;
        }
    }

    /// `None` if it is missing or no text. Of several the first counts.
    fn text(&self, name: &str) -> Option<String> {
        let value = self.first(name)?;
        if self.first("charset").is_some_and(|charset| charset.eq_ignore_ascii_case(b"utf-8")) {
            String::from_utf8(value.to_vec()).ok()
        } else {
            Some(value.iter().copied().map(char::from).collect())
        }
    }

    fn first(&self, name: &str) -> Option<&[u8]> {
        self.0.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_slice())
    }
}

/// A value at the beginning, and what follows it.
fn value(text: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let Some(quoted) = text.strip_prefix(b"\"") else {
        let end = text.iter().position(|byte| *byte == b',').unwrap_or(text.len());
        return Some((text[..end].trim_ascii_end().to_vec(), &text[end..]));
    };
    let mut value = Vec::new();
    let mut bytes = quoted.iter().enumerate();
    loop {
        match bytes.next()? {
            (at, b'"') => return Some((value, &quoted[at + 1..])),
            (_, b'\\') => value.push(*bytes.next()?.1),
            (_, byte) => value.push(*byte),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONCE: &str = "OA6MG9tEQGm2hh";

    fn users() -> Users {
        let user = |(name, password): (&str, &str)| (name.to_owned(), Secret::new(password));
        [("chris", "secret"), ("super", "of the file"), ("jürgen", "größe"), ("anton", "čaj")]
            .map(user)
            .into_iter()
            .collect()
    }

    /// What a client with this name and password answers to `nonce`.
    fn respond(user: &str, password: &str, nonce: &str, extra: &str) -> String {
        let authzid = extra.split_once("authzid=\"").map(|(_, rest)| rest.trim_end_matches('"').to_owned());
        let mut response = Response {
            user: user.to_owned(),
            realm: REALM.to_owned(),
            nonce: nonce.to_owned(),
            nonce_count: "00000001".to_owned(),
            cnonce: "OA6MHXh6VqTrRk".to_owned(),
            uri: DIGEST_URI.to_owned(),
            quality: "auth".to_owned(),
            authzid,
            digest: String::new(),
        };
        response.digest = response.digest_of("AUTHENTICATE", &response.secret(password));
        let Response { cnonce, digest, .. } = response;
        format!(
            "charset=utf-8,username=\"{user}\",realm=\"{REALM}\",nonce=\"{nonce}\",nc=00000001,\
             cnonce=\"{cnonce}\",digest-uri=\"{DIGEST_URI}\",response={digest},qop=auth{extra}"
        )
    }

    fn exchange(response: &str) -> Result<Step, SaslError> {
        let users = users();
        let passwords = Passwords { users: &users, of_super: Some(&Secret::new("set apart")) };
        let mut exchange = Exchange::default();
        exchange.step(b"", || NONCE.to_owned(), &passwords).expect("a challenge");
        let step = exchange.step(response.as_bytes(), || unreachable!("one nonce"), &passwords);
        let again = exchange.step(response.as_bytes(), || unreachable!("one nonce"), &passwords);
        assert_eq!(again, Err(SaslError::Over), "a nonce is good for one response");
        step
    }

    fn user_of(response: &str) -> Result<String, SaslError> {
        exchange(response).map(|step| match step {
            Step::Authenticated { user, .. } => user,
            Step::Challenge(_) => panic!("a second challenge"),
        })
    }

    /// The example of RFC 2831, section 4.
    #[test]
    fn digests_are_those_of_the_rfc() {
        let mut response = Response {
            user: "chris".to_owned(),
            realm: "elwood.innosoft.com".to_owned(),
            nonce: "OA6MG9tEQGm2hh".to_owned(),
            nonce_count: "00000001".to_owned(),
            cnonce: "OA6MHXh6VqTrRk".to_owned(),
            uri: "imap/elwood.innosoft.com".to_owned(),
            quality: "auth".to_owned(),
            authzid: None,
            digest: String::new(),
        };
        let secret = response.secret("secret");
        assert_eq!(response.digest_of("AUTHENTICATE", &secret), "d388dad90d4bbd760a152321f2143af7");
        assert_eq!(response.digest_of("", &secret), "ea40f60335c427b5527b84dbabcdfffd");
        response.authzid = Some("other".to_owned());
        assert_ne!(response.secret("secret"), secret);
    }

    /// The challenge as ZooKeeper 3.9.5 sends it, but for the nonce.
    #[test]
    fn the_challenge_and_the_answer_are_zookeeper_s() {
        let users = users();
        let passwords = Passwords { users: &users, of_super: None };
        let challenge = Exchange::default().step(b"", || "N".to_owned(), &passwords);
        let text = "realm=\"zk-sasl-md5\",nonce=\"N\",charset=utf-8,algorithm=md5-sess";
        assert_eq!(challenge, Ok(Step::Challenge(text.to_owned())));
        let Ok(Step::Authenticated { answer, .. }) = exchange(&respond("chris", "secret", NONCE, "")) else {
            panic!("not authenticated")
        };
        assert!(answer.starts_with("rspauth=") && answer.len() == 40, "{answer}");
    }

    #[test]
    fn who_knows_the_password_is_that_user_whoever_else_it_names() {
        assert_eq!(user_of(&respond("chris", "secret", NONCE, "")).as_deref(), Ok("chris"));
        assert_eq!(user_of(&respond("chris", "secret", NONCE, ",authzid=\"super\"")).as_deref(), Ok("chris"));
        assert_eq!(user_of(&respond("jürgen", "größe", NONCE, "")).as_deref(), Ok("jürgen"));
        assert_eq!(user_of(&respond("anton", "čaj", NONCE, "")).as_deref(), Ok("anton"));
        assert_eq!(user_of(&respond("super", "set apart", NONCE, "")).as_deref(), Ok("super"));
        assert_eq!(user_of(&respond("chris", "secret", NONCE, ", x=y ,")).as_deref(), Ok("chris"));
    }

    #[test]
    fn wrong_passwords_and_unknown_users_are_denied_alike() {
        for (user, password) in [("chris", "Secret"), ("chris", ""), ("nobody", ""), ("super", "of the file")]
        {
            assert_eq!(user_of(&respond(user, password, NONCE, "")), Err(SaslError::Denied), "{user}");
        }
    }

    #[test]
    fn what_answers_something_else_is_refused() {
        let right = respond("chris", "secret", NONCE, "");
        for (from, to, what) in [
            (NONCE, "OA6MG9tEQGm2hi", "nonce"),
            ("nc=00000001", "nc=00000002", "nc"),
            ("qop=auth", "qop=auth-conf", "qop"),
            ("zookeeper/zk", "imap/zk", "digest-uri"),
            ("realm=\"zk-sasl-md5\"", "realm=\"else\"", "realm"),
        ] {
            assert_eq!(user_of(&right.replace(from, to)), Err(SaslError::Mismatch(what)));
        }
    }

    #[test]
    fn no_bytes_are_too_odd() {
        let users = users();
        let passwords = Passwords { users: &users, of_super: None };
        let long = vec![b'a'; RESPONSE_MAX_BYTES + 1];
        let tokens: [&[u8]; 9] = [
            b"",
            b"=",
            b"\"",
            b"a=\"",
            b"a=\"\\",
            b"\xff=\xff",
            b"username=",
            b"charset=utf-8,username=\"\xff\"",
            &long,
        ];
        for token in tokens {
            let mut exchange = Exchange::Challenged { nonce: NONCE.to_owned() };
            let refused = exchange.step(token, String::new, &passwords);
            assert!(matches!(refused, Err(SaslError::Malformed(_))), "{refused:?}");
        }
    }
}
