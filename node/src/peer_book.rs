//! What the peer manager wants to know again, in a file of the data directory.

use std::{
    fs,
    io::{Read, Write},
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use eyre::{Context, Result, eyre};
use moorline_messages::{NodeRecord, PeerBan, PeerBookReport, PeerId};
use serde::{Deserialize, Serialize};
use tokio::{
    sync::{oneshot, watch},
    task::JoinHandle,
    time::timeout,
};

use crate::{observe::Observed, whole_file::write_whole};

/// The largest file that is read, in bytes: several times what a book comes to.
const FILE_MAX_BYTES: u64 = 1 << 20;
/// Peers that are written down.
const GOOD_MAX: usize = 256;
/// How long what the actors said at their end may take to come.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// The file. Bans end by the clock on the wall, so that a restart does not lengthen them.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Written {
    /// When it was written, in milliseconds since 1970. No ban was to last longer than it was then.
    written_unix_ms: u64,
    good: Vec<NodeRecord>,
    bans: Vec<Ban>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Ban {
    peer: PeerId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ip: Option<std::net::IpAddr>,
    until_unix_ms: u64,
    times: u32,
}

impl Written {
    fn of(book: &PeerBookReport, now_ms: u64) -> Self {
        let ban = |ban: &PeerBan| Ban {
            peer: ban.peer,
            ip: ban.ip,
            until_unix_ms: now_ms.saturating_add(ban.left_ms),
            times: ban.times,
        };
        Self {
            written_unix_ms: now_ms,
            good: book.good.clone(),
            bans: book.bans.iter().map(ban).collect(),
        }
    }

    fn book(self, now_ms: u64) -> PeerBookReport {
        let ban = |ban: Ban| {
            let whole = ban.until_unix_ms.saturating_sub(self.written_unix_ms);
            // a clock that was set back must not lengthen it
            let left_ms = ban.until_unix_ms.saturating_sub(now_ms).min(whole);
            PeerBan { peer: ban.peer, ip: ban.ip, left_ms, times: ban.times }
        };
        PeerBookReport { good: self.good, bans: self.bans.into_iter().map(ban).collect() }
    }
}

/// The book of a data directory.
#[derive(Clone, Debug)]
pub(crate) struct PeerBook {
    path: PathBuf,
    /// Peers that stay in the file although nobody is told of them.
    kept_back: Vec<NodeRecord>,
}

impl PeerBook {
    /// Reads it. One that cannot be read is put aside, and begun anew.
    pub(crate) fn open(path: PathBuf) -> (Self, PeerBookReport) {
        let report = match read(&path) {
            Ok(Some(written)) => written.book(now_ms()),
            Ok(None) => PeerBookReport::default(),
            Err(error) => {
                put_aside(&path, &error);
                PeerBookReport::default()
            }
        };
        (Self { path, kept_back: Vec::new() }, report)
    }

    /// Has these peers stay in the file: they are not dialled, and so not told of again.
    pub(crate) fn keep_back(&mut self, good: Vec<NodeRecord>) {
        self.kept_back = good;
    }

    /// Writes it down whenever it changes, until [`Keeping::finish`].
    pub(crate) fn keep(self, mut watched: watch::Receiver<Observed>) -> Keeping {
        let (stop, mut stopped) = oneshot::channel();
        let mut written = watched.borrow_and_update().book.clone();
        let task = tokio::spawn(async move {
            loop {
                let changed = tokio::select! {
                    biased;
                    changed = watched.changed() => changed.is_ok(),
                    _ = &mut stopped => false,
                };
                if !changed {
                    return;
                }
                let book = watched.borrow_and_update().book.clone();
                if book != written {
                    self.write(book.clone()).await;
                    written = book;
                }
            }
        });
        Keeping { stop, task }
    }

    /// Writes it down. The disk may be slow: what else is to be done goes on meanwhile.
    async fn write(&self, book: PeerBookReport) {
        let file = self.clone();
        // a panic there lost this one, and the next is written all the same
        drop(tokio::task::spawn_blocking(move || file.write_now(&book)).await);
    }

    fn write_now(&self, book: &PeerBookReport) {
        let mut written = Written::of(book, now_ms());
        let told = |node: &&NodeRecord| !book.good.iter().any(|each| each.id == node.id);
        written.good.extend(self.kept_back.iter().filter(told));
        written.good.truncate(GOOD_MAX);
        let done =
            serde_json::to_vec_pretty(&written).map_err(eyre::Report::from).and_then(|text| {
                write_whole(&self.path, |path| {
                    let mut file = fs::File::create(path)?;
                    file.write_all(&text)?;
                    Ok(file.sync_all()?)
                })
            });
        if let Err(error) = done {
            let file = self.path.display();
            tracing::warn!(%file, "cannot write down the peers: {error:#}");
        }
    }
}

/// A book that is being kept.
#[derive(Debug)]
pub(crate) struct Keeping {
    /// Dropping it ends the task.
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Keeping {
    /// Waits for what the stopped actors said last, and writes that down too.
    pub(crate) async fn finish(self) {
        let Self { stop, mut task } = self;
        if timeout(LAST_WORDS, &mut task).await.is_err() {
            drop(stop);
            drop(task.await);
        }
    }
}

fn read(path: &Path) -> Result<Option<Written>> {
    let file = match fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let mut text = Vec::new();
    file.take(FILE_MAX_BYTES.saturating_add(1))
        .read_to_end(&mut text)
        .wrap_err("it is not read")?;
    if text.len() as u64 > FILE_MAX_BYTES {
        return Err(eyre!("it is larger than {FILE_MAX_BYTES} bytes"));
    }
    Ok(Some(serde_json::from_slice(&text)?))
}

fn put_aside(path: &Path, error: &eyre::Report) {
    let aside = path.with_extension("json.broken");
    // where even that fails the file is overwritten, which loses no more
    drop(fs::rename(path, &aside));
    tracing::warn!(
        "{} cannot be read, peers are looked for anew; it is kept as {}: {}",
        path.display(),
        aside.display(),
        crate::failure::sentence(error)
    );
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)]
mod tests {
    use alloy_primitives::B512;

    use super::*;

    const ENODE: &str = "enode://79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798\
483ada7726a3c4655da4fbfc0e1108a8fd17b448a68554199c47d08ffb10d4b8@192.0.2.1:30303";

    fn book(left_ms: u64) -> PeerBookReport {
        let ban =
            |byte, ip| PeerBan { peer: PeerId(B512::repeat_byte(byte)), ip, left_ms, times: 2 };
        PeerBookReport {
            good: vec![ENODE.parse().unwrap()],
            bans: vec![ban(1, None), ban(2, Some([192, 0, 2, 2].into()))],
        }
    }

    fn again(book: &PeerBookReport, written_at: u64, read_at: u64) -> PeerBookReport {
        let text = serde_json::to_vec(&Written::of(book, written_at)).unwrap();
        serde_json::from_slice::<Written>(&text).unwrap().book(read_at)
    }

    #[test]
    fn bans_go_on_by_the_clock_on_the_wall() {
        assert_eq!(again(&book(600_000), 1_000_000, 1_000_000), book(600_000));
        assert_eq!(again(&book(600_000), 1_000_000, 1_450_000), book(150_000));
        assert_eq!(again(&book(600_000), 1_000_000, 9_000_000), book(0), "it is over");
        assert_eq!(again(&book(600_000), 1_000_000, 5), book(600_000), "a clock that was set back");
    }

    #[tokio::test]
    async fn what_is_reported_is_on_disk_and_read_again_at_the_next_start() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("peers.json");
        let (kept, first) = PeerBook::open(path.clone());
        assert_eq!(first, PeerBookReport::default());
        let (seen, watched) = watch::channel(Observed::default());
        let keeping = kept.keep(watched);
        seen.send_modify(|seen| seen.book = book(0));
        drop(seen);
        keeping.finish().await;
        assert_eq!(PeerBook::open(path.clone()).1, book(0));
        assert!(!dir.path().join("peers.json.partial").exists());
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_said_last_is_written_even_where_somebody_still_reports() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("peers.json");
        let (seen, watched) = watch::channel(Observed::default());
        let keeping = PeerBook::open(path.clone()).0.keep(watched);
        seen.send_modify(|seen| seen.book = book(0));
        keeping.finish().await;
        assert_eq!(PeerBook::open(path).1, book(0));
    }

    #[tokio::test]
    async fn peers_that_nobody_may_dial_stay_in_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("peers.json");
        let (mut kept, _) = PeerBook::open(path.clone());
        kept.keep_back(book(0).good);
        let (seen, watched) = watch::channel(Observed::default());
        let keeping = kept.keep(watched);
        seen.send_modify(|seen| seen.book = PeerBookReport { good: Vec::new(), ..book(0) });
        drop(seen);
        keeping.finish().await;
        assert_eq!(PeerBook::open(path).1, book(0));
    }

    #[test]
    fn a_broken_file_is_put_aside_and_costs_nothing_but_what_it_held() {
        let huge = vec![b' '; FILE_MAX_BYTES as usize + 2];
        let odd = br#"{"written_unix_ms":-1,"good":[],"bans":[]}"#.to_vec();
        let lie = format!(r#"{{"written_unix_ms":1,"good":["{ENODE}x"],"bans":[]}}"#).into_bytes();
        let deep = vec![b'['; 100_000];
        for text in [Vec::new(), b"{".to_vec(), b"\xff\xfe".to_vec(), huge, odd, lie, deep] {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("peers.json");
            fs::write(&path, &text).unwrap();
            assert_eq!(PeerBook::open(path.clone()).1, PeerBookReport::default());
            assert!(!path.exists());
            assert_eq!(fs::read(dir.path().join("peers.json.broken")).unwrap(), text);
        }
    }
}
