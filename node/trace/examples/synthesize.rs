//! Writes a synthetic trace: `synthesize --events 1000000 --seed 1 OUT.jsonl`. The same seed gives the same bytes.

use std::{
    collections::VecDeque,
    env,
    fs::File,
    io::{self, BufWriter, Write},
};

/// A small generator of fixed behaviour (splitmix64), so that a seed means the same everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next().checked_rem(bound).unwrap_or_default()
    }
}

struct Hop {
    from: &'static str,
    to: &'static str,
    port: u16,
    name: &'static str,
    bytes: u64,
    late: bool,
}

const fn hop(
    from: &'static str,
    to: &'static str,
    port: u16,
    name: &'static str,
    bytes: u64,
    late: bool,
) -> Hop {
    Hop { from, to, port, name, bytes, late }
}

/// What a head leads to, each the cause of the next.
const CHAIN: [Hop; 10] = [
    hop("engine-api", "tree", 0, "TreeRequest::ForkchoiceUpdated", 0, false),
    hop("tree", "downloader", 1, "TreeEvent::Download::BlockSet", 64, false),
    hop("downloader", "peer-manager", 2, "FetchRequest", 64, false),
    hop("peer-manager", "rlpx", 3, "SessionCommand::Fetch", 40, false),
    hop("rlpx", "peer-manager", 4, "SessionEvent::Answered", 47_000, false),
    hop("peer-manager", "downloader", 5, "FetchOutcome", 47_000, true),
    hop("downloader", "peer-manager", 6, "PeerReport", 0, false),
    hop("downloader", "store", 7, "StoreRequest::Persist", 47_000, true),
    hop("store", "downloader", 8, "StoreOutcome::Persisted", 0, false),
    hop("downloader", "tree", 9, "DownloadOutcome::Blocks", 640, false),
];

struct Trace<W> {
    out: W,
    random: Random,
    q: u64,
    t: u64,
    next_id: u64,
    /// Ends that are still to come: time, text without number and time.
    ends: VecDeque<(u64, String)>,
}

impl<W: Write> Trace<W> {
    fn record(&mut self, t: u64, rest: &str) -> io::Result<()> {
        writeln!(self.out, "{{\"q\":{},\"t\":{t},{rest}}}", self.q)?;
        self.q = self.q.wrapping_add(1);
        Ok(())
    }

    fn id(&mut self) -> u64 {
        self.next_id = self.next_id.wrapping_add(1);
        self.next_id
    }

    /// Lets time pass, and writes what ends in it.
    fn pass(&mut self, nanos: u64) -> io::Result<()> {
        self.t = self.t.wrapping_add(nanos);
        while let Some((t, end)) = self.ends.pop_front() {
            if t > self.t {
                self.ends.push_front((t, end));
                break;
            }
            self.record(t, &end)?;
        }
        Ok(())
    }

    fn end_later(&mut self, hop: &Hop, id: u64, panics: bool) {
        let wait = self.random.below(40_000).wrapping_add(2_000);
        let busy = self.random.below(90_000).wrapping_add(1_000);
        let late = if hop.late { self.random.below(2_000_000) } else { 0 };
        let t = self.t.wrapping_add(wait).wrapping_add(busy);
        let mut end = format!(
            "\"k\":\"done\",\"to\":\"{}\",\"m\":\"{}\",\"id\":{id},\"p\":{},\"d\":{},\"w\":{wait},\"b\":{busy}",
            hop.to,
            hop.name,
            hop.port,
            self.random.below(6),
        );
        if late > 0 {
            end += &format!(",\"a\":{late}");
        }
        if panics {
            end += ",\"bad\":true";
        }
        let at = self.ends.partition_point(|(other, _)| *other <= t);
        self.ends.insert(at, (t, end));
    }

    fn block(&mut self, number: u64) -> io::Result<()> {
        let hash: String = (0..4).map(|_| format!("{:016x}", self.random.next())).collect();
        let (mut root, mut cause) = (0, 0);
        let peer = self.random.below(25).wrapping_mul(0x0123_4567_89ab_cdef);
        let troubled = self.random.below(4000) == 0;
        for hop in &CHAIN {
            let id = self.id();
            let mut line = format!(
                "\"k\":\"send\",\"f\":\"{}\",\"to\":\"{}\",\"m\":\"{}\",\"id\":{id}",
                hop.from, hop.to, hop.name
            );
            if cause > 0 {
                line += &format!(",\"c\":{cause},\"r\":{root}");
            } else {
                root = id;
            }
            line += &format!(
                ",\"p\":{},\"d\":{},\"sz\":{},\"x\":\"{:016x}\"",
                hop.port,
                self.random.below(9).wrapping_add(1),
                hop.bytes,
                self.random.next()
            );
            line += &match hop.port {
                3 | 4 => format!(
                    ",\"key\":{{\"of\":\"c\",\"p\":\"{peer:016x}\",\"s\":{}}}",
                    peer & 0xffff
                ),
                6 => format!(",\"key\":{{\"p\":\"{peer:016x}\"}},\"note\":\"Served\""),
                _ => format!(",\"key\":{{\"h\":\"0x{hash}\",\"n\":{number},\"rq\":{id}}}"),
            };
            self.record(self.t, &line)?;
            let panics = troubled && hop.port == 5;
            self.end_later(hop, id, panics);
            if panics {
                self.trouble(hop, id)?;
            }
            cause = id;
            let pause = self.random.below(if hop.port == 3 { 300_000 } else { 60_000 });
            self.pass(pause.wrapping_add(1_000))?;
        }
        Ok(())
    }

    /// A panic, a restart, a refusal, and records that are missing.
    fn trouble(&mut self, hop: &Hop, id: u64) -> io::Result<()> {
        let lane = hop.to;
        self.record(
            self.t,
            &format!(
                "\"k\":\"panic\",\"to\":\"{lane}\",\"gen\":0,\"id\":{id},\"note\":\"planted\""
            ),
        )?;
        let restart = self.id();
        self.record(
            self.t,
            &format!("\"k\":\"restart\",\"to\":\"{lane}\",\"gen\":1,\"id\":{restart},\"a\":100000"),
        )?;
        self.record(self.t, &format!("\"k\":\"refuse\",\"f\":\"tree\",\"to\":\"{lane}\",\"m\":\"{}\",\"c\":{id},\"p\":{},\"d\":512,\"why\":\"full\"", hop.name, hop.port))?;
        let missing = self.random.below(20).wrapping_add(1);
        self.record(
            self.t,
            &format!(
                "\"k\":\"gap\",\"why\":\"queue full\",\"n\":{missing},\"from\":{},\"until\":{}",
                self.t, self.t
            ),
        )?;
        // its own number is that of the first that is missing
        self.q = self.q.wrapping_add(missing).wrapping_sub(1);
        Ok(())
    }

    fn timer(&mut self) -> io::Result<()> {
        let id = self.id();
        self.record(self.t, &format!("\"k\":\"timer\",\"to\":\"peer-manager\",\"m\":\"timer: peers are asked again\",\"id\":{id}"))?;
        self.end_later(
            &hop("", "peer-manager", 10, "timer: peers are asked again", 0, false),
            id,
            false,
        );
        self.pass(1_000)
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (mut events, mut seed, mut path) = (1_000_000_u64, 1_u64, None);
    let mut arguments = env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--events" => events = arguments.next().ok_or("--events takes a number")?.parse()?,
            "--seed" => seed = arguments.next().ok_or("--seed takes a number")?.parse()?,
            _ => path = Some(argument),
        }
    }
    let path =
        path.ok_or("name the file to write: synthesize [--events N] [--seed N] OUT.jsonl")?;
    let out = BufWriter::with_capacity(1 << 20, File::create(path)?);
    let mut trace =
        Trace { out, random: Random(seed), q: 0, t: 0, next_id: 0, ends: VecDeque::new() };
    let ports: Vec<_> = CHAIN
        .iter()
        .map(|hop| {
            format!(
                "{{\"p\":{},\"name\":\"{}\",\"to\":\"{}\",\"items\":512,\"bytes\":67108864}}",
                hop.port, hop.name, hop.to
            )
        })
        .collect();
    writeln!(
        trace.out,
        "{{\"v\":1,\"k\":\"hdr\",\"run\":\"synthetic-{seed}\",\"by\":\"synthesize\",\"t0_unix_ns\":\"1790000000000000000\",\"clock\":\"sim\",\"segment\":0,\"ports\":[{}]}}",
        ports.join(",")
    )?;
    let mut number = 20_000_000_u64;
    while trace.q < events {
        trace.block(number)?;
        number = number.wrapping_add(1);
        if number.is_multiple_of(16) {
            trace.timer()?;
        }
    }
    trace.pass(u64::MAX >> 2)?;
    trace.out.flush()?;
    Ok(())
}
