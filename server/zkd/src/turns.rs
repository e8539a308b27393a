//! Who may ask for a long list now: one at a time, and not too often.
//!
//! Listing every watch or session costs as much as there are (CVE-2017-5637), and holds a lock that writes need. So
//! lists are made one after the other, with a pause behind each that is in proportion to what it cost.

use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::{Instant, sleep_until, timeout};

/// How much longer than a list took the pause behind it is: lists get at most a tenth of one core, however many ask.
const PAUSE_FACTOR: u32 = 9;
/// How long one waits for its turn. Who types a word waits as long; a flood is turned away after it.
const PATIENCE: Duration = Duration::from_secs(2);

/// The place in line. Holds when the next list may begin.
#[derive(Debug)]
pub struct Turns(Mutex<Instant>);

impl Default for Turns {
    fn default() -> Self {
        Self(Mutex::new(Instant::now()))
    }
}

impl Turns {
    /// Does `work` when it is its turn; `None` if that takes too long.
    pub async fn take<T>(&self, work: impl FnOnce() -> T) -> Option<T> {
        let turn = timeout(PATIENCE, async {
            let next = self.0.lock().await;
            sleep_until(*next).await;
            next
        });
        let mut next = turn.await.ok()?;
        let begun = Instant::now();
        let done = work();
        let ended = Instant::now();
        *next = ended + (ended - begun) * PAUSE_FACTOR;
        Some(done)
    }
}

#[cfg(test)]
mod tests {
    use std::thread::sleep;

    use super::*;

    #[tokio::test]
    async fn lists_get_a_tenth_of_the_time_and_the_rest_of_a_flood_is_turned_away() {
        let turns = Turns::default();
        let begun = Instant::now();
        let work = || turns.take(|| sleep(Duration::from_millis(50)));
        let (first, second, ..) = tokio::join!(work(), work());
        assert_eq!((first, second), (Some(()), Some(())));
        assert!(begun.elapsed() >= Duration::from_millis(550), "the second came {:?}", begun.elapsed());
        let flood = futures::future::join_all((0..20).map(|_| work())).await;
        let done = flood.iter().flatten().count();
        assert!((1..=5).contains(&done), "{done} of 20 were made");
    }
}
