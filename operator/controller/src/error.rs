//! Why one reconciliation of one ensemble could not be finished. It is tried again; nothing here is final.

use zke_admin::tls::TlsError;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{what}")]
    Kubernetes {
        what: &'static str,
        #[source]
        source: Box<kube::Error>,
    },
    #[error("the object cannot be read: fix the manifest and apply it again")]
    Invalid(#[source] Box<kube::core::error_boundary::InvalidObject>),
    #[error("{object} still belongs to a deleted ensemble of this name; waiting until it is gone")]
    Predecessor { object: String },
    #[error("secret {secret} has no usable {key}: delete the secret to have it made anew")]
    Secret { secret: String, key: &'static str },
    #[error(
        "secret {ca} is gone while {leaves} holds certificates made with it: restore it, or delete {leaves} to accept a new CA"
    )]
    CaLost { ca: String, leaves: String },
    #[error("making a certificate")]
    Certificate(#[from] rcgen::Error),
    #[error("using the operator's own certificate")]
    Identity(#[from] TlsError),
    #[error("{call} was refused by {pod}")]
    Refused {
        call: &'static str,
        pod: String,
        #[source]
        source: Box<tonic::Status>,
    },
    #[error("{call}: {pod} did not answer")]
    Silent {
        call: &'static str,
        pod: String,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error("pod {pod} may not be evicted right now, and is asked for again: {message}")]
    Budget { pod: String, message: String },
    #[error(
        "ControllerRevision {revision} holds no pod template: change the spec, so that another one is used"
    )]
    Revision { revision: String },
    #[error("the archive that {ensemble} is to begin with was there a moment ago and is gone: looking again")]
    ArchiveGone { ensemble: String },
    #[error("the lease was lost before {step} was done; the next holder goes on")]
    LeaseLost { step: &'static str },
}

impl Error {
    /// For `map_err`: what was attempted.
    pub fn kubernetes(what: &'static str) -> impl FnOnce(kube::Error) -> Self {
        move |source| Self::Kubernetes { what, source: Box::new(source) }
    }

    /// The CamelCase word for events and metrics.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Kubernetes { .. } => "KubernetesRefused",
            Self::Invalid(_) => "Invalid",
            Self::Predecessor { .. } => "WaitingForDeletion",
            Self::Secret { .. } => "SecretUnusable",
            Self::CaLost { .. } => "CALost",
            Self::Certificate(_) | Self::Identity(_) => "CertificateFailed",
            Self::Refused { .. } => "MemberRefused",
            Self::Silent { .. } => "MemberSilent",
            Self::Budget { .. } => "EvictionRefused",
            Self::Revision { .. } => "RevisionUnreadable",
            Self::ArchiveGone { .. } => "ArchiveGone",
            Self::LeaseLost { .. } => "LeaseLost",
        }
    }

    /// Somebody wrote in between, or a predecessor is leaving: looking again soon is all it takes.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Kubernetes { source, .. } => {
                matches!(source.as_ref(), kube::Error::Api(status) if status.is_conflict())
            }
            Self::Predecessor { .. }
            | Self::Budget { .. }
            | Self::ArchiveGone { .. }
            | Self::LeaseLost { .. } => true,
            _ => false,
        }
    }

    /// This message and all causes, for a log line or an event.
    pub fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(next) = cause {
            text.push_str(": ");
            text.push_str(&next.to_string());
            cause = next.source();
        }
        text
    }
}
