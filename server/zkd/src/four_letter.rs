//! Four-letter words: the text that a person or a probe gets for typing one into the client port.
//!
//! The words are ZooKeeper 3.9's, and so is the text, to the letter: clients, probes and dashboards take it apart.
//! Which words are answered is the whitelist's to say, in any state of the server. Long lists are made in turn and cut
//! (see [`crate::turns`] and [`crate::view::lists`]), so that no flood of words harms the writes of clients.

mod configuration;
mod environment;
mod monitor;
mod sessions;
mod summary;
mod watches;

use std::sync::atomic::Ordering::Relaxed;

use crate::clients::Clients;
use crate::view::{self, ServerView, lists};

pub use environment::{environment, version};

/// What every word but a few gets while clients are not served, here and from the admin commands.
pub const NOT_SERVING: &str = "This ZooKeeper instance is not currently serving requests";

/// All that ZooKeeper knows. Others, such as `lead` and `orst`, which its code names, get no answer there either.
const WORDS: [&str; 18] = [
    "conf", "cons", "crst", "dirs", "dump", "envi", "gtmk", "hash", "isro", "mntr", "ruok", "srst", "srvr",
    "stat", "stmk", "wchc", "wchp", "wchs",
];

/// Bytes behind `stmk`: the mask, as Java writes a long.
pub const TRACE_MASK_LEN: usize = 8;

/// The answer to `word`, after which the connection is closed; `None` if ZooKeeper has no such word, so that there is
/// nothing to say. `argument` is what came behind the word.
pub async fn answer(word: [u8; 4], argument: &[u8], clients: &Clients) -> Option<String> {
    let word = known(&word)?;
    if !clients.config.four_letter_words.allows(word) {
        return Some(format!("{word} is not executed because it is not in the whitelist.\n"));
    }
    match word {
        "ruok" => return Some("imok".to_owned()),
        "envi" => return Some(environment::text()),
        "gtmk" => return Some(clients.trace_mask.load(Relaxed).to_string()),
        "stmk" => return Some(set_trace_mask(argument, clients)),
        "isro" => return Some(isro(clients).to_owned()),
        _ => {}
    }
    if !clients.hub.is_open() {
        return Some(format!("{NOT_SERVING}\n"));
    }
    Some(match word {
        "srvr" => summary::srvr(&view::server(clients).await),
        "stat" => {
            let view = view::server(clients).await;
            in_turn(word, clients, || summary::stat(&view, &lists::clients(clients))).await
        }
        "mntr" => monitor::mntr(&view::server(clients).await, &clients.stats),
        "conf" => {
            let configuration = clients.ensemble.state().read().configuration();
            configuration::conf(&clients.config, &view::server(clients).await, configuration.as_ref())
        }
        "dirs" => dirs(&view::server(clients).await),
        "cons" => in_turn(word, clients, || sessions::cons(&lists::clients(clients))).await,
        "dump" => {
            let made = || sessions::dump(&lists::sessions(clients), &lists::clients(clients));
            in_turn(word, clients, made).await
        }
        "wchs" => watches::wchs(lists::watch_summary(clients)),
        "wchc" => in_turn(word, clients, || watches::wchc(&lists::watches_by_session(clients))).await,
        "wchp" => in_turn(word, clients, || watches::wchp(&lists::watches_by_path(clients))).await,
        "hash" => hash(clients),
        "crst" => {
            reset_connections(clients);
            "Connection stats reset.\n".to_owned()
        }
        "srst" => {
            clients.stats.reset();
            "Server stats reset.\n".to_owned()
        }
        _ => return None,
    })
}

fn known(word: &[u8; 4]) -> Option<&'static str> {
    WORDS.into_iter().find(|known| known.as_bytes() == word)
}

/// Whether `word` has something to read behind it.
pub fn takes_argument(word: [u8; 4]) -> bool {
    word == *b"stmk"
}

/// Sets back what is counted for each connection.
pub fn reset_connections(clients: &Clients) {
    clients.hub.connections().iter().for_each(|connection| connection.reset_stats());
}

async fn in_turn(word: &str, clients: &Clients, make: impl FnOnce() -> String) -> String {
    let made = clients.turns.take(make).await;
    made.unwrap_or_else(|| {
        format!("{word} is not executed because too many ask for long lists: try again.\n")
    })
}

fn isro(clients: &Clients) -> &'static str {
    match (clients.hub.is_serving(), clients.hub.is_read_only()) {
        (true, _) => "rw",
        (false, true) => "ro",
        (false, false) => "null",
    }
}

fn set_trace_mask(argument: &[u8], clients: &Clients) -> String {
    if let Some(mask) = argument.first_chunk::<TRACE_MASK_LEN>() {
        clients.trace_mask.store(i64::from_be_bytes(*mask), Relaxed);
    }
    clients.trace_mask.load(Relaxed).to_string()
}

fn dirs(view: &ServerView) -> String {
    format!("datadir_size: {}\nlogdir_size: {}\n", view.data_dir_bytes, view.log_dir_bytes)
}

fn hash(clients: &Clients) -> String {
    let digests = clients.hub.digests.lock();
    digests.iter().map(|(zxid, digest)| format!("{:x}: {digest}\n", zxid.0)).collect()
}

/// Which words are answered (`4lw.commands.whitelist`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Whitelist {
    All,
    Words(Vec<String>),
}

impl Whitelist {
    /// Takes words between commas; `*` anywhere is all of them.
    pub fn parse(text: &str) -> Self {
        let words: Vec<String> = text.split(',').map(|word| word.trim().to_owned()).collect();
        if words.iter().any(|word| word == "*") { Self::All } else { Self::Words(words) }
    }

    pub fn allows(&self, word: &str) -> bool {
        match self {
            Self::All => true,
            Self::Words(words) => words.iter().any(|allowed| allowed == word),
        }
    }

    /// As ZooKeeper does of itself for read-only mode, whose clients look for a better server with `isro`.
    pub fn with_isro(mut self) -> Self {
        if let Self::Words(words) = &mut self
            && !words.iter().any(|word| word == "isro")
        {
            words.push("isro".to_owned());
        }
        self
    }
}

/// `srvr` alone, as in ZooKeeper.
impl Default for Whitelist {
    fn default() -> Self {
        Self::Words(vec!["srvr".to_owned()])
    }
}
