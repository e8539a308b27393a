//! How clients prove who they are, and how their connections are encrypted: ZooKeeper's `ssl.*`, JAAS and super user
//! keys.
//!
//! What would let in whom ZooKeeper keeps out (revocation lists, host checks of clients, a `SSLContext` of one's own) is
//! refused, never passed over.

use std::path::{Path, PathBuf};

use zke_wire::Listen;

use super::settings::{Setting, Settings};
use super::{ConfigError, Secret};

/// Handshakes at a time, unless `netty.server.outstandingHandshake.limit` says otherwise. One costs some 40
/// KiB and a signature; all clients of a lost member are through in a second or two with as many.
const HANDSHAKES_MAX: usize = 512;

/// Everything that decides who a client is.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Security {
    /// Where clients are waited for with TLS only.
    pub secure_clients: Option<Listen>,
    /// What is spoken there, and on the plain port too when [`unified`](Self::unified).
    pub tls: Option<Tls>,
    /// Whether the plain port also takes TLS, decided by the first byte.
    pub unified: bool,
    /// Whether `auth` with scheme `digest` is taken.
    pub digest: Switch,
    /// `user:digest` of the one whom no access control list stops.
    pub super_digest: Option<Secret>,
    /// A file with the same, read anew when it changes.
    pub super_digest_file: Option<PathBuf>,
    /// The subject of the certificate whose bearer no list stops.
    pub x509_super_user: Option<String>,
    pub sasl: Option<Sasl>,
    /// A client has to prove who it is by one of these schemes before it may ask for anything; empty if it need not.
    pub required_schemes: Vec<String>,
}

/// On is ZooKeeper's default.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Switch {
    #[default]
    On,
    Off,
}

/// Files are named here and read elsewhere, again whenever they change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    pub key_store: Store,
    /// `zke.ssl.keyFile`: the private key in PEM, if it does not stand in the key store.
    pub key_file: Option<PathBuf>,
    /// Whose certificates are taken from clients. There unless `client_auth` is `None`.
    pub trust_store: Option<Store>,
    pub client_auth: ClientAuth,
    pub versions: Versions,
    /// Names of cipher suites as Java has them; empty for all that are safe.
    pub cipher_suites: Vec<String>,
    pub handshakes_max: usize,
}

/// `ssl.clientAuth`: whether a client shows a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientAuth {
    None,
    /// It may; one that is not trusted ends the connection all the same.
    Want,
    Need,
}

/// Versions of TLS; at least one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Versions {
    pub tls12: bool,
    pub tls13: bool,
}

/// A file with keys or certificates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Store {
    pub path: PathBuf,
    pub kind: StoreKind,
    pub password: Option<Password>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreKind {
    Pem,
    /// Or PKCS#12, which Java, too, writes into files of that name.
    Jks,
    Pkcs12,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Password {
    Text(Secret),
    File(PathBuf),
}

/// SASL DIGEST-MD5, with users from a JAAS file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sasl {
    pub jaas: PathBuf,
    /// Of the section in it.
    pub section: String,
    /// Users whom no access control list stops.
    pub super_users: Vec<String>,
    /// Of the user `super`, whatever the file says.
    pub super_password: Option<Secret>,
    /// A client that fails to authenticate goes on as nobody in particular.
    pub failed_clients_stay: bool,
}

impl Security {
    pub(super) fn take(settings: &mut Settings, file: Option<&Path>) -> Result<Self, ConfigError> {
        refuse_what_is_not_checked(settings)?;
        let secure_clients = take_secure_clients(settings)?;
        let unified = settings.take("client.portUnification");
        let is_unified = unified.as_ref().map_or(Ok(false), Setting::bool)?;
        let tls = match (secure_clients.is_some(), unified.filter(|_| is_unified)) {
            (false, None) => None,
            _ => Some(Tls::take(settings, file)?),
        };
        let digest = settings.take_as("DigestAuthenticationProvider.enabled", Setting::bool)?;
        let sasl = Sasl::take(settings)?;
        // Of those that stand for what is built in here; others are left, to be warned of.
        settings
            .take_matching(|setting| setting.key.starts_with("authProvider.") && is_built_in(&setting.value));
        settings.take("serverCnxnFactory");
        Ok(Self {
            secure_clients,
            tls,
            unified: is_unified,
            digest: if digest == Some(false) { Switch::Off } else { Switch::On },
            super_digest: settings.take_as("DigestAuthenticationProvider.superDigest", read_digest)?,
            super_digest_file: settings.take_as("zke.superDigestFile", Setting::path)?,
            x509_super_user: settings.take("X509AuthenticationProvider.superUser").map(|it| it.value),
            required_schemes: take_required_schemes(settings, sasl.is_some())?,
            sasl,
        })
    }
}

fn is_built_in(class: &str) -> bool {
    let name = class.strip_prefix("org.apache.zookeeper.server.auth.").unwrap_or_default();
    ["SASL", "X509", "Digest", "IP"].iter().any(|scheme| name == format!("{scheme}AuthenticationProvider"))
}

fn refuse_what_is_not_checked(settings: &mut Settings) -> Result<(), ConfigError> {
    for key in ["ssl.crl", "ssl.ocsp", "ssl.clientHostnameVerification"] {
        if let Some(setting) = settings.take(key).filter(|setting| setting.value.eq_ignore_ascii_case("true"))
        {
            return Err(setting.refused(
                "this is not checked here: leave it out, and take certificates back by a CA that is renewed often",
            ));
        }
    }
    if let Some(setting) = settings.take("ssl.context.supplier.class") {
        return Err(
            setting.refused("no Java class is loaded here: name PEM files with ssl.keyStore.location")
        );
    }
    if let Some(setting) = settings.take("ssl.authProvider").filter(|setting| setting.value != "x509") {
        return Err(setting.refused("x509 is the only provider: leave it out"));
    }
    let algorithm = settings.take("DigestAuthenticationProvider.digestAlg");
    if let Some(setting) = algorithm.filter(|setting| !matches!(setting.value.as_str(), "SHA1" | "SHA-1")) {
        return Err(setting.refused("SHA1 is the only algorithm: leave it out"));
    }
    Ok(())
}

fn take_secure_clients(settings: &mut Settings) -> Result<Option<Listen>, ConfigError> {
    let host = settings.take("secureClientPortAddress");
    match (settings.take_as("secureClientPort", Setting::port)?, host) {
        (Some(port), host) => Ok(Some(Listen { host: host.as_ref().map(Setting::host).transpose()?, port })),
        (None, Some(host)) => Err(host.refused("secureClientPort is not set: write it, or leave this out")),
        (None, None) => Ok(None),
    }
}

impl Tls {
    fn take(settings: &mut Settings, file: Option<&Path>) -> Result<Self, ConfigError> {
        let missing = |key, advice| ConfigError::Missing {
            file: file.unwrap_or(Path::new("the command line")).to_owned(),
            key,
            advice,
        };
        let key_store = Store::take(settings, "ssl.keyStore")?.ok_or_else(|| {
            missing("ssl.keyStore.location", "name a PEM file with the server's certificate and key")
        })?;
        let client_auth = settings.take_as("ssl.clientAuth", read_client_auth)?.unwrap_or(ClientAuth::Need);
        let trust_store = Store::take(settings, "ssl.trustStore")?;
        if client_auth != ClientAuth::None && trust_store.is_none() {
            return Err(missing(
                "ssl.trustStore.location",
                "name a PEM file with the CA of the clients' certificates, or write ssl.clientAuth=none",
            ));
        }
        let limit = settings.take("netty.server.outstandingHandshake.limit");
        // -1 is ZooKeeper's way to write its default out.
        let limit =
            limit.filter(|setting| setting.value != "-1").as_ref().map(Setting::positive).transpose()?;
        Ok(Self {
            key_store,
            key_file: settings.take_as("zke.ssl.keyFile", Setting::path)?,
            trust_store,
            client_auth,
            versions: Versions::take(settings)?,
            cipher_suites: settings
                .take("ssl.ciphersuites")
                .map(|setting| list(&setting.value))
                .unwrap_or_default(),
            handshakes_max: limit
                .map_or(HANDSHAKES_MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX)),
        })
    }
}

impl Versions {
    /// Both unless the file says otherwise. What is older than 1.2 is passed over: nobody ought to speak it.
    fn take(settings: &mut Settings) -> Result<Self, ConfigError> {
        let (one, several) = (settings.take("ssl.protocol"), settings.take("ssl.enabledProtocols"));
        let Some(setting) = several.or(one) else { return Ok(Self { tls12: true, tls13: true }) };
        let names = list(&setting.value);
        let has = |version: &str| names.iter().any(|name| name == version || name == "TLS");
        let versions = Self { tls12: has("TLSv1.2"), tls13: has("TLSv1.3") };
        match versions {
            Self { tls12: false, tls13: false } => Err(setting
                .refused("neither TLSv1.2 nor TLSv1.3 is among them, and nothing older is spoken here")),
            some => Ok(some),
        }
    }
}

impl Store {
    /// Takes the keys that begin with `prefix`.
    fn take(settings: &mut Settings, prefix: &str) -> Result<Option<Self>, ConfigError> {
        let location = settings.take(&format!("{prefix}.location"));
        let kind = settings.take(&format!("{prefix}.type"));
        let password = settings.take(&format!("{prefix}.password"));
        let password_path = settings.take_as(&format!("{prefix}.passwordPath"), Setting::path)?;
        let Some(location) = location else { return Ok(None) };
        let path = location.path()?;
        let kind = match kind.filter(|kind| !kind.value.is_empty()) {
            Some(kind) => StoreKind::named(&kind.value)
                .ok_or_else(|| kind.refused("PEM, PKCS12 and JKS are what can be read here"))?,
            None => {
                path.extension().and_then(|it| it.to_str()).and_then(StoreKind::of_extension).ok_or_else(
                    || {
                        location.refused(format!(
                            "write {prefix}.type=PEM, PKCS12 or JKS: its name does not say which"
                        ))
                    },
                )?
            }
        };
        let password = match (password_path, password) {
            (Some(path), _) => Some(Password::File(path)),
            (None, Some(text)) => Some(Password::Text(Secret::new(text.value))),
            (None, None) => None,
        };
        Ok(Some(Self { path, kind, password }))
    }
}

impl StoreKind {
    fn named(text: &str) -> Option<Self> {
        match text.to_ascii_uppercase().as_str() {
            "PEM" => Some(Self::Pem),
            "JKS" => Some(Self::Jks),
            "PKCS12" => Some(Self::Pkcs12),
            _ => None,
        }
    }

    fn of_extension(text: &str) -> Option<Self> {
        match text {
            "pem" | "crt" => Some(Self::Pem),
            "jks" => Some(Self::Jks),
            "p12" | "pfx" => Some(Self::Pkcs12),
            _ => None,
        }
    }
}

impl Sasl {
    fn take(settings: &mut Settings) -> Result<Option<Self>, ConfigError> {
        let jaas = settings.take_as("java.security.auth.login.config", Setting::path)?;
        let section = settings.take("sasl.serverconfig").map(|setting| setting.value);
        let super_users = settings
            .take_matching(|setting| setting.key == "superUser" || setting.key.starts_with("superUser."));
        let super_password = settings.take("SASLAuthenticationProvider.superPassword");
        let failed_clients_stay = settings.take_as("allowSaslFailedClients", Setting::bool)?;
        Ok(jaas.map(|jaas| Self {
            jaas,
            section: section.unwrap_or_else(|| "Server".to_owned()),
            super_users: super_users.into_iter().map(|setting| setting.value).collect(),
            super_password: super_password.map(|setting| Secret::new(setting.value)),
            failed_clients_stay: failed_clients_stay.unwrap_or(false),
        }))
    }
}

fn take_required_schemes(settings: &mut Settings, has_sasl: bool) -> Result<Vec<String>, ConfigError> {
    let sasl = settings.take("sessionRequireClientSASLAuth");
    let enabled = settings.take("enforce.auth.enabled");
    let schemes = settings.take("enforce.auth.schemes");
    let no_users = "no client could ever authenticate: name a JAAS file with its users by \
                    -Djava.security.auth.login.config=FILE";
    if let Some(setting) = sasl
        && setting.bool()?
    {
        return if has_sasl { Ok(vec!["sasl".to_owned()]) } else { Err(setting.refused(no_users)) };
    }
    let Some(enabled) = enabled.filter(|setting| setting.value.eq_ignore_ascii_case("true")) else {
        return Ok(Vec::new());
    };
    let Some(schemes) = schemes.filter(|setting| !list(&setting.value).is_empty()) else {
        return Err(enabled.refused("write enforce.auth.schemes, such as sasl, digest or x509, beside it"));
    };
    let names = list(&schemes.value);
    match names.iter().find(|name| !matches!(name.as_str(), "sasl" | "digest" | "x509" | "ip")) {
        Some(name) => {
            Err(schemes.refused(format!("there is no scheme {name}: sasl, digest, x509 and ip are known")))
        }
        None if !has_sasl && names == ["sasl"] => Err(schemes.refused(no_users)),
        None => Ok(names),
    }
}

fn read_client_auth(setting: &Setting) -> Result<ClientAuth, ConfigError> {
    match setting.value.to_ascii_lowercase().as_str() {
        "none" => Ok(ClientAuth::None),
        "want" => Ok(ClientAuth::Want),
        "need" | "" => Ok(ClientAuth::Need),
        _ => Err(setting.refused("write none, want or need")),
    }
}

fn read_digest(setting: &Setting) -> Result<Secret, ConfigError> {
    if is_digest(&setting.value) {
        return Ok(Secret::new(&*setting.value));
    }
    Err(setting.refused("write it as user:base64 of the SHA-1"))
}

/// Whether it has the form of a super digest.
pub(crate) fn is_digest(text: &str) -> bool {
    text.split_once(':').is_some_and(|(user, digest)| !user.is_empty() && !digest.is_empty())
}

fn list(text: &str) -> Vec<String> {
    text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect()
}
