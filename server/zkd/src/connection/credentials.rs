//! Who a client says it is: answered at once, ahead of what waits, as ZooKeeper does and clients expect.

use bytes::Bytes;
use zke_wire::{ErrorCode, Response, Zxid};

use super::{Connection, Ending, Inner};
use crate::access::Known;
use crate::config::Sasl;
use crate::identity::AuthError;
use crate::sasl::{Passwords, SaslError, Step};

/// For the reader task.
impl Connection {
    /// Adds an identity and answers at once, ahead of what waits: so does ZooKeeper, and clients expect it. Wrong
    /// credentials end the connection behind the answer.
    pub fn authenticate(&self, xid: i32, scheme: &str, auth: &Bytes, known: &Known) -> Result<(), AuthError> {
        let mut inner = self.inner.lock();
        let added = inner.identities.add(scheme, auth, known);
        let response = match added {
            Ok(()) => Response::Empty,
            Err(_) => Response::Error(ErrorCode::AuthFailed),
        };
        self.answer_credentials(&mut inner, xid, &response);
        if added.is_err() {
            inner.end(Ending::Flushing, &self.cut, &self.stats);
        }
        added
    }

    /// Takes a token of SASL, and answers as [`authenticate`](Self::authenticate) does. A server without users has
    /// nothing to say, as ZooKeeper, and the client is whoever it was.
    ///
    /// # Errors
    /// [`SaslError`]; the connection ends with `refusal`, unless the configuration lets it stay.
    pub fn sasl(
        &self,
        xid: i32,
        token: &[u8],
        settings: Option<&Sasl>,
        known: &Known,
        refusal: ErrorCode,
    ) -> Result<(), SaslError> {
        let mut inner = self.inner.lock();
        let inner = &mut *inner;
        let (Some(settings), Some(users)) = (settings, &known.sasl_users) else {
            self.answer_credentials(inner, xid, &Response::Sasl { token: None });
            return Ok(());
        };
        let passwords = Passwords { users, of_super: settings.super_password.as_ref() };
        let step = inner.sasl.step(token, fresh_nonce, &passwords).and_then(|step| match step {
            Step::Challenge(challenge) => Ok(challenge),
            Step::Authenticated { user, answer } => {
                match inner.identities.add_sasl(user, &settings.super_users) {
                    Ok(()) => Ok(answer),
                    Err(_) => Err(SaslError::Over),
                }
            }
        });
        let answer = match &step {
            Ok(token) => Response::Sasl { token: Some(Bytes::copy_from_slice(token.as_bytes())) },
            Err(_) if settings.failed_clients_stay && refusal == ErrorCode::AuthFailed => {
                Response::Sasl { token: None }
            }
            Err(_) => Response::Error(refusal),
        };
        self.answer_credentials(inner, xid, &answer);
        if matches!(answer, Response::Error(_)) {
            inner.end(Ending::Flushing, &self.cut, &self.stats);
        }
        step.map(|_| ())
    }

    /// Whether the client has proven who it is by one of these schemes. If not, the request `xid` is refused and the
    /// connection ends.
    pub fn has_proven_itself(&self, xid: i32, schemes: &[String]) -> bool {
        let mut inner = self.inner.lock();
        if inner.identities.has_any(schemes) {
            return true;
        }
        self.answer_credentials(&mut inner, xid, &Response::Error(ErrorCode::SessionClosedRequireSaslAuth));
        inner.end(Ending::Flushing, &self.cut, &self.stats);
        false
    }

    /// Adds the subject of a certificate; before there is a session.
    ///
    /// # Errors
    /// [`AuthError::TooMany`]; the caller ends the connection.
    pub fn add_certificate(&self, subject: String, known: &Known) -> Result<(), AuthError> {
        self.inner.lock().identities.add_certificate(subject, known)
    }

    /// Such replies carry zxid 0.
    fn answer_credentials(&self, inner: &mut Inner, xid: i32, response: &Response) {
        self.push(inner, 1, |_, out| response.encode(xid, Zxid(0), out));
    }
}

/// Enough that nobody guesses it, in letters that need no quoting.
fn fresh_nonce() -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(rand::random::<[u8; 30]>())
}
