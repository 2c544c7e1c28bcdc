//! Fifty peers of every kind, and a downloader that wants a chain: nobody starves, nobody honest
//! suffers, and no liar lasts.

mod model;
mod oracle;
mod wanting;
mod world;

use std::{collections::BTreeSet, num::NonZero, thread};

use moorline_messages::SUBNET_SESSIONS_MAX;

use super::*;
use model::{Dice, Habit, Sizes, Speed};
use wanting::ATTEMPTS_MAX;
use world::{Account, World};

const SEEDS: RangeInclusive<u64> = 1..=200;
/// Bodies and receipts of a chain that takes the crowd about twenty-five seconds.
const CHAIN_BYTES: u64 = 500_000_000;
/// Those of a chain for what is not about speed.
const SHORT_CHAIN_BYTES: u64 = 100_000_000;
/// What is lost, at most, against the oracle, in percent.
const LOSS_MAX_PERCENT: u32 = 15;
/// What is lost, at most, against peers that are all busy from the first to the last moment.
const FLUID_LOSS_MAX_PERCENT: u32 = 45;
/// Bytes that came, at most, for each hundred that were wanted: lies, and what two were asked for.
const CAME_MAX_PERCENT: u64 = 115;

/// Peers of one subnet.
const SYBILS: usize = 30;

/// A chain, and who has it.
#[derive(Clone, Debug)]
struct Setting {
    seed: u64,
    blocks: u64,
    sizes: Sizes,
    peers: Vec<(SocketAddr, Speed, Habit)>,
}

/// A subnet of its own for each.
fn scattered(number: usize) -> SocketAddr {
    SocketAddr::from(([80, number as u8, 1, 1], 30_303))
}

/// All in one /24.
fn sybil(number: usize) -> SocketAddr {
    SocketAddr::from(([91, 7, 7, number as u8], 30_303))
}

fn is_sybil(addr: SocketAddr) -> bool {
    addr.ip().to_string().starts_with("91.7.7.")
}

#[derive(Clone, Copy, Debug)]
enum Class {
    Fast,
    Middling,
    Slow,
}

impl Class {
    fn speed(self, dice: &mut Dice) -> Speed {
        let (round_trip_ms, kilobytes_per_s) = match self {
            Self::Fast => (dice.between(20..=120), dice.between(800..=3_000)),
            Self::Middling => (dice.between(50..=250), dice.between(200..=800)),
            Self::Slow => (dice.between(200..=800), dice.between(15..=100)),
        };
        Speed { round_trip: ms(round_trip_ms), bytes_per_s: kilobytes_per_s * 1_000 }
    }

    fn any(dice: &mut Dice) -> Self {
        match dice.between(1..=10) {
            1..=3 => Self::Fast,
            4..=7 => Self::Middling,
            _ => Self::Slow,
        }
    }
}

impl Setting {
    fn new(seed: u64, dice: &mut Dice, chain_bytes: u64) -> Self {
        let body = dice.between(10_000..=80_000);
        let sizes = Sizes { body, receipts: dice.between(5_000..=40_000) };
        let blocks = chain_bytes / (sizes.body + sizes.receipts);
        Self { seed, blocks, sizes, peers: Vec::new() }
    }

    fn add(&mut self, dice: &mut Dice, class: Class, habit: Habit) {
        self.peers.push((scattered(self.peers.len()), class.speed(dice), habit));
    }

    fn wanted_bytes(&self) -> u64 {
        self.blocks * (self.sizes.body + self.sizes.receipts)
    }

    fn id(at: usize) -> PeerId {
        peer(at as u8 + 1)
    }

    fn liars(&self) -> BTreeSet<PeerId> {
        let liars = self.peers.iter().enumerate();
        let liars = liars.filter(|(_, (_, _, habit))| matches!(habit, Habit::Lying(_)));
        liars.map(|(at, _)| Self::id(at)).collect()
    }
}

/// Fifty peers: plain ones of every pace, and some of each peculiar kind.
fn crowd(seed: u64) -> Setting {
    let mut dice = Dice::of(seed);
    let mut setting = Setting::new(seed, &mut dice, CHAIN_BYTES);
    for (class, count) in [(Class::Fast, 6), (Class::Middling, 7), (Class::Slow, 7)] {
        (0..count).for_each(|_| setting.add(&mut dice, class, Habit::Plain));
    }
    for peculiar in 0..30 {
        let (class, prune_line) = (Class::any(&mut dice), dice.between(1..=setting.blocks));
        let habit = match peculiar {
            0..=4 => Habit::Pruned(prune_line),
            5 | 6 => Habit::PrunedInSilence(prune_line),
            7 | 8 => Habit::Partial(dice.between(1..=5)),
            9 | 10 => Habit::Reordering,
            11 | 12 => Habit::Patchy(dice.between(5..=50)),
            13 => Habit::OtherBranch,
            14..=16 => Habit::Silent,
            17 => Habit::Stuttering,
            18..=20 => Habit::Flapping(ms(dice.between(2_000..=15_000))),
            21 | 22 => Habit::Late(ms(dice.between(1_000..=15_000))),
            23 => Habit::Recovering(ms(dice.between(2_000..=10_000))),
            24 => Habit::Tiring(ms(dice.between(2_000..=10_000))),
            _ => Habit::Lying(dice.between(20..=100)),
        };
        let class = if matches!(habit, Habit::Lying(_)) { Class::Fast } else { class };
        setting.add(&mut dice, class, habit);
    }
    setting
}

/// Five honest peers of fifty, none of them fast, and every liar is.
fn mob(seed: u64) -> Setting {
    let mut dice = Dice::of(seed);
    let mut setting = Setting::new(seed, &mut dice, SHORT_CHAIN_BYTES);
    (0..5).for_each(|_| setting.add(&mut dice, Class::Middling, Habit::Plain));
    for _ in 0..45 {
        let habit = Habit::Lying(dice.between(5..=100));
        setting.add(&mut dice, Class::Fast, habit);
    }
    setting
}

/// Twenty peers of every pace, and thirty fast ones that all live in one /24.
fn sybils(seed: u64) -> Setting {
    let mut dice = Dice::of(seed);
    let mut setting = Setting::new(seed, &mut dice, SHORT_CHAIN_BYTES);
    for _ in 0..20 {
        let class = Class::any(&mut dice);
        setting.add(&mut dice, class, Habit::Plain);
    }
    for number in 0..SYBILS {
        setting.peers.push((sybil(number), Class::Fast.speed(&mut dice), Habit::Plain));
    }
    setting
}

/// Tells which seed it was.
struct Seed(u64);

impl Drop for Seed {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("seed {}", self.0);
        }
    }
}

/// On as many threads as there are processors.
fn for_each_seed(check: impl Fn(u64) + Sync) {
    let threads = thread::available_parallelism().map_or(1, NonZero::get);
    thread::scope(|scope| {
        for first in 0..threads {
            let check = &check;
            scope.spawn(move || {
                for number in SEEDS.skip(first).step_by(threads) {
                    let seed = Seed(number);
                    check(seed.0);
                }
            });
        }
    });
}

fn expect_justice(setting: &Setting, account: &Account) {
    let liars = setting.liars();
    let proved: BTreeSet<PeerId> = account.proofs.keys().copied().collect();
    assert!(proved.is_subset(&liars), "somebody honest was called a liar");
    assert_eq!(account.banned, proved, "banned, against who was proved to lie");
    assert!(account.proofs.values().all(|proofs| *proofs == 1), "one proof is enough");
    assert_eq!(account.asked_after_proof, BTreeSet::new(), "a liar was dealt with again");
    assert!(account.attempts < ATTEMPTS_MAX, "a block would have been given up");
}

/// The time in which the peers, each always busy and those that flap half the time, could send the
/// chain from the top down: no chooser is faster.
fn fluid(setting: &Setting) -> Duration {
    let mut lines: Vec<u64> = vec![0];
    let earliest = |habit: Habit| match habit {
        Habit::Pruned(line) | Habit::PrunedInSilence(line) => line,
        _ => 0,
    };
    lines.extend(setting.peers.iter().map(|it| earliest(it.2)));
    let bytes = setting.sizes.body + setting.sizes.receipts;
    lines.sort_unstable();
    lines.push(setting.blocks);
    let able = |line: u64| -> f64 {
        let rates = setting.peers.iter().map(|(_, speed, habit)| {
            let rate = speed.bytes_per_s as f64;
            match habit {
                Habit::Lying(_) | Habit::Silent | Habit::OtherBranch => 0.0,
                Habit::Flapping(_) => rate / 2.0,
                habit if earliest(*habit) > line => 0.0,
                _ => rate,
            }
        });
        rates.sum()
    };
    let parts = lines.windows(2).map(|it| ((it[1] - it[0]) * bytes) as f64 / able(it[0]));
    Duration::from_secs_f64(parts.sum())
}

#[test]
fn fifty_peers_are_used_as_well_as_if_all_were_known_and_only_liars_are_banned() {
    for_each_seed(|seed| {
        let setting = crowd(seed);
        let (best, account) = (World::of(&setting, false).run(), World::of(&setting, true).run());
        expect_justice(&setting, &account);
        assert_eq!(account.proofs.len(), setting.liars().len(), "a liar is not found out");
        let within = |best: Duration, loss_percent: u32| {
            let most = best * 100 / (100 - loss_percent);
            assert!(account.took <= most, "{:?} instead of {best:?}", account.took);
        };
        within(best.took, LOSS_MAX_PERCENT);
        within(fluid(&setting), FLUID_LOSS_MAX_PERCENT);
        let most = setting.wanted_bytes() * CAME_MAX_PERCENT / 100;
        assert!(account.came_bytes <= most, "{} bytes came", account.came_bytes);
    });
}

#[test]
fn a_sync_completes_among_nine_liars_in_ten() {
    for_each_seed(|seed| {
        let setting = mob(seed);
        let account = World::of(&setting, true).run();
        expect_justice(&setting, &account);
    });
}

/// Peers of one subnet send no more than their sessions' part of all that could be sent, and half of
/// that on top, as fast peers are preferred to slow ones: how many sessions they get is what bounds them.
#[test]
fn a_subnet_full_of_fast_peers_gets_the_share_of_the_sessions_it_may_have() {
    for_each_seed(|seed| {
        let setting = sybils(seed);
        let account = World::of(&setting, true).run();
        expect_justice(&setting, &account);
        assert!(account.sybil_sessions <= SUBNET_SESSIONS_MAX, "{}", account.sybil_sessions);
        let rate = |(_, speed, _): &(SocketAddr, Speed, Habit)| speed.bytes_per_s;
        let (sybils, others): (Vec<_>, Vec<_>) =
            setting.peers.iter().enumerate().partition(|(_, (addr, ..))| is_sybil(*addr));
        let mut rates: Vec<u64> = sybils.iter().map(|(_, it)| rate(it)).collect();
        rates.sort_unstable();
        let fastest: u64 = rates.iter().rev().take(account.sybil_sessions).sum();
        let all = fastest + others.iter().map(|(_, it)| rate(it)).sum::<u64>();
        let came = |at: usize| account.bytes.get(&Setting::id(at)).copied().unwrap_or(0);
        let share = sybils.iter().map(|(at, _)| came(*at)).sum::<u64>();
        let most = setting.wanted_bytes() * fastest / all * 3 / 2;
        assert!(share <= most, "{share} bytes, {most} at most: {}", account.sybil_sessions);
    });
}
