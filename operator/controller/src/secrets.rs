//! The Secrets that hold the CA and the certificates.
//!
//! The operator may get, create and patch Secrets, not list or watch them. The CA is only ever created, never
//! overwritten: two operators at once cannot end with two of them.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::PostParams;
use kube::{Api, Client};
use zke_admin::tls::ClientIdentity;

use crate::apply::apply;
use crate::certificates::{Pair, is_due, new_ca, new_leaf};
use crate::ensemble::Ensemble;
use crate::error::Error;
use crate::names::FIELD_MANAGER;

type Data = BTreeMap<String, ByteString>;

/// Makes what is missing or due, for this many pods, and returns the operator's own identity.
pub async fn ensure(
    client: &Client,
    ensemble: &Ensemble,
    pods: u32,
    now: Timestamp,
) -> Result<ClientIdentity, Error> {
    let names = &ensemble.names;
    let secrets: Api<Secret> = Api::namespaced(client.clone(), &names.namespace);
    let read = async |name: String| {
        let found = secrets.get_opt(&name).await.map_err(Error::kubernetes("reading the certificates"))?;
        match found {
            Some(secret) if ensemble.is_predecessors(&secret.metadata) => {
                Err(Error::Predecessor { object: format!("secret {name}") })
            }
            found => Ok(found.map(|secret| secret.data.unwrap_or_default())),
        }
    };
    let peers = read(names.peer_tls_secret()).await?;
    let ca = match read(names.ca_secret()).await? {
        Some(data) => Pair {
            certificate: text(&data, "ca.crt", &names.ca_secret())?,
            key: text(&data, "ca.key", &names.ca_secret())?,
        },
        None if peers.is_some() => {
            return Err(Error::CaLost { ca: names.ca_secret(), leaves: names.peer_tls_secret() });
        }
        None => create_ca(&secrets, ensemble, now).await?,
    };

    let mut leaves = peers.clone().unwrap_or_default();
    leaves.insert("ca.crt".to_owned(), bytes(&ca.certificate));
    for pod in (0..pods).map(|ordinal| names.pod(ordinal)) {
        renew(&mut leaves, &ca, &pod, &names.uri(&pod), &names.host_names(&pod), now)?;
    }
    if peers.as_ref() != Some(&leaves) {
        apply(client, &secret(ensemble, names.peer_tls_secret(), leaves)).await?;
    }

    let known = read(names.operator_tls_secret()).await?;
    let own = client_leaf(known.as_ref(), &ca, &names.operator_uri(), now)?;
    let identity = ClientIdentity::load(
        ca.certificate.as_bytes(),
        text(&own, "tls.crt", &names.operator_tls_secret())?.as_bytes(),
        text(&own, "tls.key", &names.operator_tls_secret())?.as_bytes(),
    )?;
    if known.as_ref() != Some(&own) {
        apply(client, &secret(ensemble, names.operator_tls_secret(), own)).await?;
    }

    let callers =
        [(names.backup_tls_secret(), names.backup_uri()), (names.restore_tls_secret(), names.restore_uri())];
    for (name, uri) in callers {
        let known = read(name.clone()).await?;
        let data = client_leaf(known.as_ref(), &ca, &uri, now)?;
        if known.as_ref() != Some(&data) {
            apply(client, &secret(ensemble, name, data)).await?;
        }
    }
    Ok(identity)
}

async fn create_ca(secrets: &Api<Secret>, ensemble: &Ensemble, now: Timestamp) -> Result<Pair, Error> {
    let names = &ensemble.names;
    let ca = new_ca(&format!("{}/{}", names.namespace, names.name), now)?;
    let data = [("ca.crt".to_owned(), bytes(&ca.certificate)), ("ca.key".to_owned(), bytes(&ca.key))];
    let params = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
    secrets
        .create(&params, &secret(ensemble, names.ca_secret(), data.into()))
        .await
        .map_err(Error::kubernetes("creating the internal CA"))?;
    Ok(ca)
}

/// A certificate for somebody who only calls members.
fn client_leaf(known: Option<&Data>, ca: &Pair, uri: &str, now: Timestamp) -> Result<Data, Error> {
    let mut data = known.cloned().unwrap_or_default();
    data.insert("ca.crt".to_owned(), bytes(&ca.certificate));
    renew(&mut data, ca, "tls", uri, &[], now)?;
    Ok(data)
}

fn renew(
    data: &mut Data,
    ca: &Pair,
    name: &str,
    uri: &str,
    host_names: &[String],
    now: Timestamp,
) -> Result<(), Error> {
    let (certificate, key) = (format!("{name}.crt"), format!("{name}.key"));
    let have_key = data.contains_key(&key);
    if have_key && data.get(&certificate).is_some_and(|pem| !is_due(&pem.0, now)) {
        return Ok(());
    }
    let leaf = new_leaf(ca, uri, host_names, now)?;
    data.insert(certificate, bytes(&leaf.certificate));
    data.insert(key, bytes(&leaf.key));
    Ok(())
}

fn secret(ensemble: &Ensemble, name: String, data: Data) -> Secret {
    Secret { metadata: ensemble.metadata(name), data: Some(data), ..Secret::default() }
}

fn bytes(text: &str) -> ByteString {
    ByteString(text.as_bytes().to_vec())
}

fn text(data: &Data, key: &'static str, secret: &str) -> Result<String, Error> {
    data.get(key)
        .and_then(|value| String::from_utf8(value.0.clone()).ok())
        .ok_or_else(|| Error::Secret { secret: secret.to_owned(), key })
}
