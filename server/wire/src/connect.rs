//! The handshake: the first frame each way, which carries no header.

use bytes::{Bytes, BytesMut};

use crate::frame;
use crate::ids::{SessionId, Zxid};
use crate::jute::{DecodeError, Reader, Record, Writer};

/// Bytes of a session's password in every [`ConnectResponse`].
pub const PASSWORD_LEN: usize = 16;

/// Asks for a new session, or for an old one back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectRequest {
    pub protocol_version: i32,
    /// The highest zxid the client has seen: a server that has not processed it yet would show the client its past.
    pub last_zxid_seen: Zxid,
    /// Wanted session timeout; the server clamps it to its bounds.
    pub timeout_ms: i32,
    /// [`SessionId::NONE`] for a new session.
    pub session_id: SessionId,
    /// Of the session to take up again. Of any length, since it comes from outside; null reads as empty.
    pub password: Bytes,
    /// Whether a server without a quorum will do. `None` when the client is too old to say (44 bytes instead of 45).
    pub read_only: Option<bool>,
}

impl Record for ConnectRequest {
    const MIN_LEN: usize = 28;

    fn read(from: &mut Reader) -> Result<Self, DecodeError> {
        Ok(Self {
            protocol_version: from.int("protocolVersion")?,
            last_zxid_seen: Zxid(from.long("lastZxidSeen")?),
            timeout_ms: from.int("timeOut")?,
            session_id: SessionId(from.long("sessionId")?),
            password: from.buffer("passwd")?.unwrap_or_default(),
            read_only: read_only(from)?,
        })
    }

    fn write(&self, to: &mut Writer<'_>) {
        to.int(self.protocol_version);
        to.long(self.last_zxid_seen.0);
        to.int(self.timeout_ms);
        to.long(self.session_id.0);
        to.buffer(Some(&self.password));
        if let Some(read_only) = self.read_only {
            to.bool(read_only);
        }
    }
}

impl ConnectRequest {
    /// Reads the first frame of a connection.
    ///
    /// # Errors
    /// [`DecodeError`] if it is no connect request; the connection is then closed without a word.
    pub fn decode(frame: Bytes) -> Result<Self, DecodeError> {
        Self::read(&mut Reader::new(frame))
    }

    /// Appends the request as a frame.
    pub fn encode(&self, out: &mut BytesMut) {
        frame::write(out, |to| self.write(to));
    }
}

/// Grants a session, or says that it is gone ([`ConnectResponse::expired`]).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectResponse {
    /// The negotiated session timeout.
    pub timeout_ms: i32,
    pub session_id: SessionId,
    pub password: [u8; PASSWORD_LEN],
    /// Whether this server serves without a quorum. Must be `None` exactly when the request's was: old clients take
    /// a 37th byte for the next frame, and the C client waits for ever for a missing one.
    pub read_only: Option<bool>,
}

impl ConnectResponse {
    /// The answer to an unknown or expired session and to a wrong password: zeros. Different clients look at
    /// different ones of them, so all are needed.
    pub fn expired(request: &ConnectRequest) -> Self {
        Self {
            timeout_ms: 0,
            session_id: SessionId::NONE,
            password: [0; PASSWORD_LEN],
            read_only: request.read_only.map(|_| false),
        }
    }

    /// Reads what a server answered.
    ///
    /// # Errors
    /// [`DecodeError`] if it is no connect response.
    pub fn decode(frame: Bytes) -> Result<Self, DecodeError> {
        Self::read(&mut Reader::new(frame))
    }

    /// Appends the response as a frame.
    pub fn encode(&self, out: &mut BytesMut) {
        frame::write(out, |to| self.write(to));
    }
}

impl Record for ConnectResponse {
    const MIN_LEN: usize = 20 + PASSWORD_LEN;

    fn read(from: &mut Reader) -> Result<Self, DecodeError> {
        from.int("protocolVersion")?;
        Ok(Self {
            timeout_ms: from.int("timeOut")?,
            session_id: SessionId(from.long("sessionId")?),
            password: read_password(from)?,
            read_only: read_only(from)?,
        })
    }

    fn write(&self, to: &mut Writer<'_>) {
        to.int(0);
        to.int(self.timeout_ms);
        to.long(self.session_id.0);
        to.buffer(Some(&self.password));
        if let Some(read_only) = self.read_only {
            to.bool(read_only);
        }
    }
}

fn read_password(from: &mut Reader) -> Result<[u8; PASSWORD_LEN], DecodeError> {
    let password = from.buffer("passwd")?.unwrap_or_default();
    // A password is as long as ours or it is no password of ours; the length fits, it came from an int.
    password
        .as_ref()
        .try_into()
        .map_err(|_| DecodeError::Length { field: "passwd", length: password.len() as i32 })
}

/// The one optional field of the protocol: there if a byte is left.
fn read_only(from: &mut Reader) -> Result<Option<bool>, DecodeError> {
    if from.remaining() == 0 { Ok(None) } else { from.bool("readOnly").map(Some) }
}
