//! Container images without Docker: one layer, written byte for byte the same whenever its content is the same. The
//! layer is not compressed: here it is only read once, and what pushes it to a registry compresses it on the way.
//!
//! The archive is an OCI image layout and a `docker save` archive at once, so `ctr images import`, `docker load`,
//! `podman load`, `skopeo copy oci-archive:` and `crane push` all take it.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tar::{EntryType, Header};

use crate::checkout::hex;
use crate::node::PAUSE_IMAGE;

/// The user that our images run as. Not root, and above what distributions give to their own services.
pub const USER_ID: u32 = 10001;

const LAYER_TYPE: &str = "application/vnd.oci.image.layer.v1.tar";
const CONFIG_TYPE: &str = "application/vnd.oci.image.config.v1+json";
const MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX_TYPE: &str = "application/vnd.oci.image.index.v1+json";

/// What an image will hold.
#[derive(Debug)]
pub struct Image {
    name: String,
    entrypoint: Vec<String>,
    env: Vec<String>,
    files: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    path: String,
    mode: u32,
    content: Content,
}

#[derive(Debug)]
enum Content {
    Folder,
    Text(String),
    File(PathBuf),
    Link(PathBuf),
}

/// A finished image.
#[derive(Debug)]
pub struct Archive {
    pub bytes: Vec<u8>,
    /// The manifest's digest, by which container runtimes know the image.
    pub digest: String,
    blobs: Vec<Blob>,
    index: Value,
}

#[derive(Debug)]
struct Blob {
    kind: &'static str,
    bytes: Vec<u8>,
    sha256: String,
}

impl Image {
    /// An image that starts `entrypoint` as a user that is not root, with the few files that programs expect.
    pub fn new(name: &str, entrypoint: &str) -> Self {
        let image = Self {
            name: name.to_owned(),
            entrypoint: vec![entrypoint.to_owned()],
            env: vec!["PATH=/usr/local/bin:/usr/bin:/bin".to_owned()],
            files: Vec::new(),
        };
        let user = format!("zkensemble:x:{USER_ID}:{USER_ID}::/:/sbin/nologin");
        image
            .text("etc/passwd", &format!("root:x:0:0:root:/root:/sbin/nologin\n{user}\n"))
            .text("etc/group", &format!("root:x:0:\nzkensemble:x:{USER_ID}:\n"))
            .text("etc/nsswitch.conf", "hosts: files dns\n")
            .entry("tmp", 0o1777, Content::Folder)
    }

    /// An image of nothing but one static program.
    pub fn of_program(name: &str, program: &Path) -> Result<Self> {
        let file = program.file_name().and_then(|file| file.to_str());
        let Some(file) = file else { bail!("{} is no program", program.display()) };
        let inside = format!("usr/local/bin/{file}");
        Ok(Self::new(name, &format!("/{inside}")).file(&inside, program))
    }

    pub(crate) fn pause(program: &Path) -> Result<Self> {
        Self::of_program(PAUSE_IMAGE, program)
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn env(mut self, variable: &str) -> Self {
        self.env.push(variable.to_owned());
        self
    }

    pub fn text(self, path: &str, text: &str) -> Self {
        self.entry(path, 0o644, Content::Text(text.to_owned()))
    }

    /// A file of this machine; it is executable in the image.
    pub fn file(self, path: &str, source: &Path) -> Self {
        self.entry(path, 0o755, Content::File(source.to_owned()))
    }

    /// A symbolic link.
    pub fn link(self, path: &str, target: &Path) -> Self {
        self.entry(path, 0o777, Content::Link(target.to_owned()))
    }

    fn entry(mut self, path: &str, mode: u32, content: Content) -> Self {
        self.files.push(Entry { path: path.trim_start_matches('/').to_owned(), mode, content });
        self
    }

    /// Reads the files and writes the image.
    pub fn archive(&self) -> Result<Archive> {
        let plain = self.layer().with_context(|| format!("write the layer of {}", self.name))?;
        let layer = Blob::new(LAYER_TYPE, plain);
        let config = Blob::json(CONFIG_TYPE, &self.config(&layer.sha256)?)?;
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "config": config.descriptor(),
            "layers": [layer.descriptor()],
        });
        let manifest = Blob::json(MANIFEST_TYPE, &manifest)?;
        let digest = format!("sha256:{}", manifest.sha256);
        let mut entry = manifest.descriptor();
        let tag = self.name.rsplit_once(':').map_or("latest", |(_, tag)| tag);
        entry["annotations"] = json!({
            "io.containerd.image.name": self.name,
            "org.opencontainers.image.ref.name": tag,
        });
        entry["platform"] = json!({"os": "linux", "architecture": architecture()?});
        let index = json!({"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": [entry]});
        let docker = json!([{
            "Config": config.path(), "RepoTags": [self.name], "Layers": [layer.path()],
        }]);
        let blobs = vec![layer, config, manifest];
        let mut files: Vec<_> = blobs.iter().map(|blob| (blob.path(), blob.bytes.clone())).collect();
        files.push(("oci-layout".to_owned(), LAYOUT.as_bytes().to_vec()));
        files.push(("index.json".to_owned(), encode(&index)?));
        files.push(("manifest.json".to_owned(), encode(&docker)?));
        let mut tar = tar::Builder::new(Vec::new());
        for (path, bytes) in files {
            append(&mut tar, &path, 0o644, EntryType::Regular, &bytes)?;
        }
        Ok(Archive { bytes: tar.into_inner().context("finish the archive")?, digest, blobs, index })
    }

    fn config(&self, layer: &str) -> Result<Value> {
        Ok(json!({
            "architecture": architecture()?,
            "os": "linux",
            "created": "1970-01-01T00:00:00Z",
            "config": {
                "User": format!("{USER_ID}:{USER_ID}"),
                "Entrypoint": self.entrypoint,
                "Env": self.env,
                "WorkingDir": "/",
            },
            "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{layer}")]},
        }))
    }

    fn layer(&self) -> Result<Vec<u8>> {
        let mut tar = tar::Builder::new(Vec::new());
        let mut folders = std::collections::BTreeSet::new();
        for entry in &self.files {
            let parents: Vec<_> = Path::new(&entry.path).ancestors().skip(1).collect();
            for parent in parents.into_iter().rev().filter(|parent| *parent != Path::new("")) {
                if folders.insert(parent.to_owned()) {
                    append_path(&mut tar, parent, 0o755, EntryType::Directory, &[])?;
                }
            }
            match &entry.content {
                Content::Folder => {
                    folders.insert(PathBuf::from(&entry.path));
                    append(&mut tar, &entry.path, entry.mode, EntryType::Directory, &[])?;
                }
                Content::Text(text) => {
                    append(&mut tar, &entry.path, entry.mode, EntryType::Regular, text.as_bytes())?
                }
                Content::File(source) => {
                    let bytes = fs::read(source).with_context(|| format!("read {}", source.display()))?;
                    append(&mut tar, &entry.path, entry.mode, EntryType::Regular, &bytes)?;
                }
                Content::Link(target) => {
                    let mut header = header(entry.mode, EntryType::Symlink, 0);
                    tar.append_link(&mut header, &entry.path, target).context("write a link")?;
                }
            }
        }
        tar.into_inner().context("finish the layer")
    }
}

const LAYOUT: &str = r#"{"imageLayoutVersion":"1.0.0"}"#;

impl Archive {
    /// Writes the image as a folder in the OCI layout, as `crane push` and `skopeo copy oci:` take it.
    pub fn write_layout(&self, folder: &Path) -> Result<()> {
        let blobs = folder.join("blobs/sha256");
        fs::create_dir_all(&blobs).with_context(|| format!("create {}", blobs.display()))?;
        for blob in &self.blobs {
            fs::write(blobs.join(&blob.sha256), &blob.bytes).context("write a blob")?;
        }
        fs::write(folder.join("oci-layout"), LAYOUT).context("write oci-layout")?;
        fs::write(folder.join("index.json"), encode(&self.index)?).context("write index.json")
    }
}

impl Blob {
    fn new(kind: &'static str, bytes: Vec<u8>) -> Self {
        let sha256 = digest(&bytes);
        Self { kind, bytes, sha256 }
    }

    fn json(kind: &'static str, value: &Value) -> Result<Self> {
        Ok(Self::new(kind, encode(value)?))
    }

    fn path(&self) -> String {
        format!("blobs/sha256/{}", self.sha256)
    }

    fn descriptor(&self) -> Value {
        json!({"mediaType": self.kind, "digest": format!("sha256:{}", self.sha256), "size": self.bytes.len()})
    }
}

fn append(
    tar: &mut tar::Builder<Vec<u8>>,
    path: &str,
    mode: u32,
    kind: EntryType,
    bytes: &[u8],
) -> Result<()> {
    append_path(tar, Path::new(path), mode, kind, bytes)
}

fn append_path(
    tar: &mut tar::Builder<Vec<u8>>,
    path: &Path,
    mode: u32,
    kind: EntryType,
    bytes: &[u8],
) -> Result<()> {
    let mut header = header(mode, kind, bytes.len() as u64);
    tar.append_data(&mut header, path, bytes).with_context(|| format!("append {}", path.display()))
}

fn header(mode: u32, kind: EntryType, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size);
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    header
}

fn encode(value: &Value) -> Result<Vec<u8>> {
    serde_json::to_vec(value).context("encode a part of the image")
}

fn digest(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// This machine's architecture in Go's words, which OCI uses.
fn architecture() -> Result<&'static str> {
    match std::env::consts::ARCH {
        "x86_64" => Ok("amd64"),
        "aarch64" => Ok("arm64"),
        other => bail!("images are not built for {other}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use std::io::Read;

    fn unpack(bytes: &[u8]) -> BTreeMap<String, Vec<u8>> {
        let mut archive = tar::Archive::new(bytes);
        let entries = archive.entries().unwrap().map(|entry| {
            let mut entry = entry.unwrap();
            let path = entry.path().unwrap().display().to_string();
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            (path, content)
        });
        entries.collect()
    }

    #[test]
    fn the_same_content_is_the_same_image() {
        let image = || Image::new("example.org/a:1", "/a").text("a", "hello").archive().unwrap();
        assert_eq!(image().bytes, image().bytes);
        let other = Image::new("example.org/a:1", "/a").text("a", "hullo").archive().unwrap();
        assert_ne!(image().digest, other.digest);
    }

    #[test]
    fn every_digest_names_its_blob() {
        let archive = Image::new("example.org/a:1", "/a").text("opt/deep/file", "hello").archive().unwrap();
        let files = unpack(&archive.bytes);
        for (path, content) in &files {
            if let Some(sha256) = path.strip_prefix("blobs/sha256/") {
                assert_eq!(digest(content), sha256);
            }
        }
        let index: Value = serde_json::from_slice(&files["index.json"]).unwrap();
        assert_eq!(index["manifests"][0]["digest"], archive.digest);
        let docker: Value = serde_json::from_slice(&files["manifest.json"]).unwrap();
        let plain = &files[docker[0]["Layers"][0].as_str().unwrap()];
        let layer = unpack(plain);
        assert_eq!(layer["opt/deep/file"], b"hello");
        assert!(layer.contains_key("opt/deep"), "parents must be there: {:?}", layer.keys());
        let config: Value = serde_json::from_slice(&files[docker[0]["Config"].as_str().unwrap()]).unwrap();
        assert_eq!(config["rootfs"]["diff_ids"][0], format!("sha256:{}", digest(plain)));
        assert_eq!(config["config"]["User"], "10001:10001");
    }
}
