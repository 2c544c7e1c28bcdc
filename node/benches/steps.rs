//! What each step of a sync costs by itself, on one thread: `cargo bench -p moorline --bench steps`.
//!
//! Medians, of an item and of a byte: of a message's data for frames, of RLP for what is decoded and
//! proved, of RLP for what is stored.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::disallowed_methods
)]

use std::{
    hint::black_box,
    sync::Arc,
    time::{Duration, Instant},
};

use alloy_primitives::Bytes;
use bytes::BytesMut;
use moorline_devnet::{Generator, Profile, genesis_header, genesis_json};
use moorline_messages::{Block, Body, FetchItems, SealedHeader, Span, StoreBatch, Weigh};
use moorline_rlpx::{
    eth::{EthMessage, VERSIONS, encode_body, id, seal_header},
    frame::{FrameDecoder, FrameEncoder, MAX_FRAME_BYTES},
    handshake::{Initiator, Response, Secrets},
    node_id, random_key, snappy,
};
use moorline_rules::{
    ChainSpec, body_matches, validate_body, validate_header_against_parent, validate_header_alone,
};
use moorline_store::{Backend, Disk};

// as the binary has it
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How long a step is repeated, and how often at least.
const REPEATED_FOR: Duration = Duration::from_secs(2);
const REPEATED_MIN: usize = 9;

/// What the downloader asks for in one request, and writes in one batch.
const ANSWER_BYTES: usize = 1_500_000;
const BATCH_BYTES: usize = 2 << 20;
const HEADERS: usize = FetchItems::MAX_HEADERS as usize;

/// Repeats a step, each time with what `prepare` makes for it, and prints the median.
fn step<T>(
    name: &str,
    items: usize,
    bytes: usize,
    mut prepare: impl FnMut() -> T,
    mut run: impl FnMut(T),
) {
    let mut took_ns = Vec::new();
    let began = Instant::now();
    while took_ns.len() < REPEATED_MIN || began.elapsed() < REPEATED_FOR {
        let input = prepare();
        let turn = Instant::now();
        run(input);
        took_ns.push(turn.elapsed().as_nanos() as f64);
    }
    took_ns.sort_by(f64::total_cmp);
    let median_ns = took_ns[took_ns.len() / 2];
    println!(
        "{name:<40} {items:>5} items {:>10.0} ns/item {:>8.0} MB/s",
        median_ns / items as f64,
        bytes as f64 / median_ns * 1e3,
    );
}

fn main() {
    let spec = ChainSpec::from_genesis_json(&genesis_json()).unwrap();
    let blocks: Vec<Block> = Generator::new(Profile::Mainnet, 1).take(HEADERS).collect();
    let answered = fit(&blocks, ANSWER_BYTES);
    frames(&bodies_message(&blocks[..answered]));
    messages(&blocks, answered);
    headers(&spec, &blocks);
    roots(&spec, &blocks[blocks.len() - answered..]);
    store(&blocks);
}

/// How many bodies make up so many bytes.
fn fit(blocks: &[Block], bytes: usize) -> usize {
    let mut sum = 0;
    let fits = |block: &&Block| {
        sum += body_bytes(&block.body);
        sum <= bytes
    };
    blocks.iter().take_while(fits).count()
}

fn body_bytes(body: &Body) -> usize {
    let mut out = BytesMut::new();
    encode_body(body, &mut out);
    out.len()
}

fn raw_header(header: &SealedHeader) -> Bytes {
    alloy_rlp::encode(header.inner()).into()
}

fn bodies_message(blocks: &[Block]) -> Bytes {
    let bodies = blocks.iter().map(|block| (*block.body).clone()).collect();
    EthMessage::BlockBodies { request_id: 1, bodies }.encode(VERSIONS[0]).freeze().into()
}

/// The secrets of both sides of a connection.
fn secrets() -> (Secrets, Secrets) {
    let (ours, theirs) = (random_key(), random_key());
    let initiator = Initiator::new(&ours, node_id(&theirs).unwrap()).unwrap();
    let response = Response::to(&theirs, initiator.auth()).unwrap();
    (initiator.finish(&response.ack).unwrap(), response.secrets)
}

fn frames(message: &Bytes) {
    let (ours, theirs) = secrets();
    let mut encoder = FrameEncoder::new(&ours);
    let mut out = BytesMut::new();
    let encode = |()| {
        out.clear();
        encoder.encode(&[message], &mut out).unwrap();
    };
    step("frame: encrypt and MAC", 1, message.len(), || (), encode);

    let mut encoder = FrameEncoder::new(&ours);
    let mut decoder = FrameDecoder::new(&theirs, MAX_FRAME_BYTES);
    let frame = || {
        let mut frame = BytesMut::new();
        encoder.encode(&[message], &mut frame).unwrap();
        frame
    };
    step("frame: check and decrypt", 1, message.len(), frame, |mut frame| {
        black_box(decoder.decode(&mut frame).unwrap().unwrap());
    });
}

fn messages(blocks: &[Block], answered: usize) {
    let version = VERSIONS[0];
    let bodies = bodies_message(&blocks[..answered]);
    let packed = snappy::compress(&mut snap::raw::Encoder::new(), &bodies).unwrap();
    step(
        "decode: expand by snappy",
        1,
        bodies.len(),
        || (),
        |()| {
            black_box(snappy::decompress(&packed, MAX_FRAME_BYTES).unwrap());
        },
    );
    let message = || bodies.clone();
    step("decode: BlockBodies", answered, bodies.len(), message, |message| {
        black_box(EthMessage::decode(version, id::BLOCK_BODIES, message).unwrap());
    });
    let headers = blocks.iter().map(|block| raw_header(&block.header)).collect();
    let headers = EthMessage::BlockHeaders { request_id: 1, headers }.encode(version).freeze();
    let message = || Bytes::from(headers.clone());
    step("decode: BlockHeaders", blocks.len(), headers.len(), message, |message| {
        black_box(EthMessage::decode(version, id::BLOCK_HEADERS, message).unwrap());
    });
}

fn headers(spec: &ChainSpec, blocks: &[Block]) {
    let raw: Vec<Bytes> = blocks.iter().map(|block| raw_header(&block.header)).collect();
    let bytes = raw.iter().map(|raw| raw.len()).sum();
    step(
        "headers: decode and hash",
        blocks.len(),
        bytes,
        || (),
        |()| {
            for raw in &raw {
                black_box(seal_header(raw).unwrap());
            }
        },
    );
    let genesis = Arc::new(genesis_header());
    step(
        "headers: rules",
        blocks.len(),
        bytes,
        || (),
        |()| {
            let mut parent = &genesis;
            for Block { header, .. } in blocks {
                validate_header_alone(spec, header).unwrap();
                validate_header_against_parent(spec, header, parent).unwrap();
                parent = header;
            }
        },
    );
}

fn roots(spec: &ChainSpec, blocks: &[Block]) {
    let bytes = blocks.iter().map(|block| body_bytes(&block.body)).sum();
    step(
        "bodies: roots",
        blocks.len(),
        bytes,
        || (),
        |()| {
            for block in blocks {
                body_matches(&block.header, &block.body).unwrap();
            }
        },
    );
    step(
        "bodies: rules",
        blocks.len(),
        bytes,
        || (),
        |()| {
            for block in blocks {
                validate_body(spec, &block.header, &block.body).unwrap();
            }
        },
    );
}

/// One batch after another, each of new headers and of bodies of the usual size.
fn store(blocks: &[Block]) {
    let dir = tempfile::tempdir().unwrap();
    let genesis = Arc::new(genesis_header());
    let disk = Disk::open(dir.path(), &genesis, 1, None).unwrap();
    let mut count = 0;
    let bodies: Vec<&Arc<Body>> = blocks
        .iter()
        .map(|block| &block.body)
        .take_while(|body| {
            count += body.weight_bytes();
            count <= BATCH_BYTES
        })
        .collect();
    let mut chain = Generator::new(Profile::Empty, 1);
    let mut batch = || {
        let blocks: Vec<Block> = chain.by_ref().take(HEADERS).collect();
        let (bottom, top) = (&blocks[0], &blocks[HEADERS - 1]);
        let span = Span {
            top: top.num_hash(),
            bottom: bottom.num_hash(),
            bottom_parent: bottom.header.parent_hash,
        };
        let named = blocks.iter().map(Block::num_hash).zip(&bodies);
        StoreBatch {
            bodies: named.map(|(block, body)| (block, Arc::clone(body))).collect(),
            headers: blocks.into_iter().map(|block| block.header).collect(),
            spans: vec![span],
            ..StoreBatch::default()
        }
    };
    let sample = batch();
    let bytes = sample.headers.iter().map(|header| raw_header(header).len()).sum::<usize>()
        + sample.bodies.iter().map(|(_, body)| body_bytes(body)).sum::<usize>();
    step("store: a batch, safe on the disk", 1, bytes, batch, |batch| {
        assert_eq!(disk.commit(&[&batch]), [Ok(())]);
    });
}
