//! What decides who a client is: TLS certificates, SASL users, super digests. Read from files that may change.
//!
//! The files are read whole at each look and compared, rather than watched: a Secret of Kubernetes is replaced by
//! swapping symbolic links, of which watches tell late or never. What cannot be used leaves everything as it was.
//! Connections keep the identities that they have; whoever authenticates next is measured by the new files.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use tokio::time::sleep;

use crate::config::{Secret, Security, Switch, is_digest};
use crate::jaas::{self, JaasError, Users};
use crate::tls::{ClientTls, TlsError};

/// How often the files are looked at. Kubernetes itself needs up to a minute to show a changed Secret.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);

pub struct Access {
    pub security: Security,
    pub tls: Option<ClientTls>,
    known: RwLock<Arc<Known>>,
    /// What the files held when they were last looked at, whether or not it could be used; `None` if they could not be
    /// read.
    seen: Mutex<Option<Contents>>,
}

/// Whom this server knows, at one moment.
#[derive(Debug, Default)]
pub struct Known {
    pub digest: Switch,
    /// Each `user:digest`.
    pub super_digests: Vec<Secret>,
    pub x509_super_user: Option<String>,
    /// `None` if SASL is not served.
    pub sasl_users: Option<Users>,
}

/// Why a server does not start, or goes on with what it knew.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    #[error("cannot read {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("cannot read users from {}: {source}", path.display())]
    Jaas { path: PathBuf, source: JaasError },
    #[error("cannot read the super user from {}: write user:base64 of the SHA-1 of user:password into it", path.display())]
    SuperDigest { path: PathBuf },
    #[error("no client could ever authenticate: {} has no section {section} with users", path.display())]
    NoUsers { path: PathBuf, section: String },
    #[error(transparent)]
    Tls(#[from] TlsError),
}

impl Access {
    /// Reads the files.
    ///
    /// # Errors
    /// [`AccessError`], which names the file.
    pub fn load(security: &Security) -> Result<Self, AccessError> {
        let contents = Contents::read(security)?;
        let known = contents.known(security)?;
        Ok(Self {
            security: security.clone(),
            tls: security.tls.as_ref().map(ClientTls::load).transpose()?,
            known: RwLock::new(Arc::new(known)),
            seen: Mutex::new(Some(contents)),
        })
    }

    pub fn known(&self) -> Arc<Known> {
        Arc::clone(&self.known.read())
    }

    /// Looks at the files again and again, for as long as it is polled.
    pub async fn follow_files(self: &Arc<Self>) {
        loop {
            sleep(LOOK_INTERVAL).await;
            let access = Arc::clone(self);
            // A mounted file may be slow. One that hangs stops the looking and nothing else.
            if let Err(error) = tokio::task::spawn_blocking(move || access.reload()).await {
                tracing::error!(%error, "looking for new certificates and users failed");
            }
        }
    }

    /// Looks at the files; what cannot be used is logged, once for each change.
    pub fn reload(&self) {
        if let Some(tls) = &self.tls {
            tls.reload();
        }
        let mut seen = self.seen.lock();
        let contents = match Contents::read(&self.security) {
            Ok(contents) => contents,
            Err(error) => {
                // Once is enough until they can be read again.
                if seen.take().is_some() {
                    tracing::warn!(error = &error as &dyn std::error::Error, "keeping the users there are");
                }
                return;
            }
        };
        if seen.as_ref() == Some(&contents) {
            return;
        }
        match contents.known(&self.security) {
            Ok(known) => {
                *self.known.write() = Arc::new(known);
                tracing::info!("new clients are known by the new users and super user");
            }
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "keeping the users there are");
            }
        }
        *seen = Some(contents);
    }
}

#[derive(PartialEq, Eq)]
struct Contents {
    jaas: Option<String>,
    super_digest: Option<String>,
}

impl Contents {
    fn read(security: &Security) -> Result<Self, AccessError> {
        Ok(Self {
            jaas: security.sasl.as_ref().map(|sasl| read(&sasl.jaas)).transpose()?,
            super_digest: security.super_digest_file.as_deref().map(read).transpose()?,
        })
    }

    fn known(&self, security: &Security) -> Result<Known, AccessError> {
        let mut super_digests = Vec::from_iter(security.super_digest.clone());
        if let Some((path, text)) = security.super_digest_file.as_ref().zip(self.super_digest.as_ref()) {
            let digest = text.trim();
            if !is_digest(digest) || digest.contains(char::is_whitespace) {
                return Err(AccessError::SuperDigest { path: path.clone() });
            }
            super_digests.push(Secret::new(digest));
        }
        Ok(Known {
            digest: security.digest,
            super_digests,
            x509_super_user: security.x509_super_user.clone(),
            sasl_users: self.sasl_users(security)?,
        })
    }

    fn sasl_users(&self, security: &Security) -> Result<Option<Users>, AccessError> {
        let Some((sasl, text)) = security.sasl.as_ref().zip(self.jaas.as_ref()) else { return Ok(None) };
        let (path, section) = (sasl.jaas.clone(), sasl.section.clone());
        let users =
            jaas::users(text, &section).map_err(|source| AccessError::Jaas { path: path.clone(), source })?;
        match users {
            None if security.required_schemes == ["sasl"] => Err(AccessError::NoUsers { path, section }),
            users => Ok(users),
        }
    }
}

fn read(path: &Path) -> Result<String, AccessError> {
    std::fs::read_to_string(path).map_err(|source| AccessError::Read { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::config::Sasl;

    const JAAS: &str = "Server { a.DigestLoginModule required user_al=\"pass\"; };";

    fn users(access: &Access) -> Vec<String> {
        access.known().sasl_users.iter().flat_map(|users| users.keys().cloned()).collect()
    }

    fn supers(access: &Access) -> Vec<String> {
        access.known().super_digests.iter().map(|digest| digest.reveal().to_owned()).collect()
    }

    #[test]
    fn files_are_read_anew_and_one_that_cannot_be_used_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let (jaas, digest) = (dir.path().join("jaas.conf"), dir.path().join("digest"));
        fs::write(&jaas, JAAS).unwrap();
        fs::write(&digest, "super:one=\n").unwrap();
        let sasl = Sasl {
            jaas: jaas.clone(),
            section: "Server".to_owned(),
            super_users: Vec::new(),
            super_password: None,
            failed_clients_stay: false,
        };
        let security = Security {
            sasl: Some(sasl),
            super_digest: Some(Secret::new("root:zero=")),
            super_digest_file: Some(digest.clone()),
            ..Security::default()
        };
        let access = Access::load(&security).unwrap();
        assert_eq!(
            (users(&access), supers(&access)),
            (vec!["al".into()], vec!["root:zero=".into(), "super:one=".into()])
        );

        fs::write(&jaas, JAAS.replace("al", "bo")).unwrap();
        fs::write(&digest, "super:two=").unwrap();
        access.reload();
        assert_eq!(
            (users(&access), supers(&access)),
            (vec!["bo".into()], vec!["root:zero=".into(), "super:two=".into()])
        );

        fs::write(&jaas, "Server { half").unwrap();
        access.reload();
        assert_eq!(users(&access), ["bo"]);
        fs::remove_file(&digest).unwrap();
        access.reload();
        assert_eq!(supers(&access).len(), 2);
        fs::write(&digest, "no digest").unwrap();
        assert!(Access::load(&security).is_err());
    }

    #[test]
    fn a_server_that_nobody_could_use_does_not_start() {
        let dir = tempfile::tempdir().unwrap();
        let jaas = dir.path().join("jaas.conf");
        fs::write(&jaas, "").unwrap();
        let sasl = Sasl {
            jaas,
            section: "Server".to_owned(),
            super_users: Vec::new(),
            super_password: None,
            failed_clients_stay: false,
        };
        let mut security = Security { sasl: Some(sasl), ..Security::default() };
        // As in ZooKeeper, a file without the section is a server without SASL.
        assert!(Access::load(&security).unwrap().known().sasl_users.is_none());
        security.required_schemes = vec!["sasl".to_owned()];
        assert!(matches!(Access::load(&security), Err(AccessError::NoUsers { .. })));
    }
}
