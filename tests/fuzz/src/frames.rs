//! Frames and the messages in them, under secrets that both sides know.

use std::sync::OnceLock;

use bytes::BytesMut;
use moorline_messages::PeerId;
use moorline_rlpx::{
    EthMessage, Timeouts,
    eth::{MAX_MESSAGE_BYTES, VERSIONS},
    frame::FrameEncoder,
    fuzzing::{accept_with, read_all},
    handshake::{HandshakeError, Initiator, Response, Secrets},
    node_id,
    p2p::Hello,
    snappy,
};
use snap::raw::Encoder;

use crate::{
    Target,
    eth::{eth_seeds, status},
    handshake::{OURS, THEIRS},
    script::{Script, counted},
    stream::{Pieces, block_on},
};

/// Ids of eth come after those of the base protocol.
const FIRST_ID: u8 = 0x10;
const STEPS_MAX: usize = 8;

/// A conversation after the handshake: good and bad frames, in pieces of any size.
pub(crate) const FRAMES: Target =
    Target { name: "frames", max_len: 480, read: frames, seeds: frame_seeds };

/// The whole side that is dialled: handshake, hello, Status and messages, in pieces of any size. The
/// `auth` packet is a good one, whose answer is made once, or anything.
pub(crate) const ACCEPT: Target =
    Target { name: "accept", max_len: 640, read: accept, seeds: accept_seeds };

/// Compressed data of a message.
pub(crate) const SNAPPY: Target =
    Target { name: "snappy", max_len: 4096, read: decompress, seeds: snappy_seeds };

/// A handshake that went well.
struct Shaken {
    auth: Vec<u8>,
    response: Response,
    theirs: Secrets,
}

fn shaken() -> &'static Shaken {
    static SHAKEN: OnceLock<Shaken> = OnceLock::new();
    SHAKEN.get_or_init(|| {
        let initiator = Initiator::new(&THEIRS, node_id(&OURS).unwrap()).unwrap();
        let auth = initiator.auth().to_vec();
        let response = Response::to(&OURS, &auth).unwrap();
        let theirs = initiator.finish(&response.ack).unwrap();
        Shaken { auth, response, theirs }
    })
}

/// The answer to an `auth` packet, made anew only for one that is not the good one.
fn answer(auth: &[u8]) -> Result<Response, HandshakeError> {
    let Shaken { auth: known, response: Response { remote, ack, secrets }, .. } = shaken();
    if auth != known {
        return Response::to(&OURS, auth);
    }
    Ok(Response { remote: *remote, ack: ack.clone(), secrets: secrets.clone() })
}

/// What the other side sends.
struct Sender {
    encoder: FrameEncoder,
    compressor: Encoder,
    sent: BytesMut,
}

impl Sender {
    fn new() -> Self {
        let encoder = FrameEncoder::new(&shaken().theirs);
        Self { encoder, compressor: Encoder::new(), sent: BytesMut::new() }
    }

    fn play(&mut self, script: &mut Script<'_>) {
        for _ in 0..STEPS_MAX {
            if !script.is_over() {
                self.step(script);
            }
        }
    }

    fn frame(&mut self, parts: &[&[u8]]) {
        self.encoder.encode(parts, &mut self.sent).expect("scripts are shorter than frames");
    }

    fn step(&mut self, script: &mut Script<'_>) {
        match script.below(8) {
            0 => self.frame(&[&[0x80], hello()]),
            1 => self.frame(&[&[0x80], script.counted()]),
            2 => {
                let id = [script.byte()];
                let data = self.compressor.compress_vec(script.counted()).unwrap();
                self.frame(&[&id, &data]);
            }
            3 => {
                let id = [FIRST_ID | script.byte()];
                let data = self.compressor.compress_vec(script.counted()).unwrap();
                self.frame(&[&id, &data]);
            }
            4 => self.frame(&[&[FIRST_ID | script.byte()], script.counted()]),
            5 => self.frame(&[script.counted()]),
            6 => self.sent.extend_from_slice(script.counted()),
            _ => {
                let back = usize::from(script.byte()) + 1;
                let change = script.byte();
                self.frame(&[script.counted()]);
                let at = self.sent.len().saturating_sub(back);
                self.sent[at] ^= change;
            }
        }
    }
}

fn hello() -> &'static [u8] {
    static HELLO: OnceLock<BytesMut> = OnceLock::new();
    HELLO.get_or_init(|| {
        Hello::new("geth/fuzz", &VERSIONS, 30303, node_id(&THEIRS).unwrap()).encode()
    })
}

fn frames(input: &[u8]) -> bool {
    let mut script = Script::new(input);
    let version = VERSIONS[script.below(VERSIONS.len())];
    let piece = script.number();
    let mut sender = Sender::new();
    sender.play(&mut script);
    let stream = Pieces::new(sender.sent.to_vec(), piece.into());
    let (count, _) = block_on(read_all(stream, &shaken().response.secrets, version));
    count > 1
}

fn accept(input: &[u8]) -> bool {
    let mut script = Script::new(input);
    let is_good = script.below(4) > 0;
    let version = VERSIONS[script.below(VERSIONS.len())];
    let piece = script.number();
    let mut sender = Sender::new();
    let first = if is_good { &shaken().auth } else { script.counted() };
    sender.sent.extend_from_slice(first);
    sender.play(&mut script);
    let stream = Pieces::new(sender.sent.to_vec(), piece.into());
    block_on(talk(stream, version)).is_some()
}

/// Accepts, exchanges Status and reads to the end; gives nothing if it does not come to reading.
async fn talk(stream: Pieces, version: u8) -> Option<usize> {
    let hello = Hello::new("moorline/fuzz", &[version], 30303, node_id_of_ours());
    let timeouts = Timeouts::default();
    let mut connection = accept_with(stream, answer, &hello, &timeouts).await.ok()?;
    connection.exchange_status(&status(version)).await.ok()?;
    let mut count = 0;
    while connection.read().await.is_ok() {
        count += 1;
    }
    Some(count)
}

fn node_id_of_ours() -> PeerId {
    static ID: OnceLock<PeerId> = OnceLock::new();
    *ID.get_or_init(|| node_id(&OURS).unwrap())
}

fn accept_seeds() -> Vec<Vec<u8>> {
    let message = |id: u8, data: &[u8]| [vec![3, id], counted(data)].concat();
    let mut seeds = vec![[&[0, 0, 1, 0][..], &counted(&shaken().auth), &[0]].concat()];
    for (at, version) in (0..).zip(VERSIONS) {
        let status = EthMessage::Status(status(version)).encode(version);
        let conversation = [
            &[1, at, 1, 0, 0][..],
            &message(0, &status),
            &message(4, &[0xc2, 1, 0xc0]),
            &[2, 1],
            &counted(&[0xc1, 4]),
        ];
        seeds.push(conversation.concat());
        // in pieces, and no Status
        seeds.push([&[2, at, 0, 9, 0][..], &message(4, &[0xc2, 1, 0xc0])].concat());
    }
    seeds
}

fn frame_seeds() -> Vec<Vec<u8>> {
    let pieces = [[0, 0, 1], [1, 0, 33], [2, 8, 0]];
    let with = |id: u8, data: &[u8]| [vec![3, id], counted(data)].concat();
    let conversations = [
        // a hello, a ping and a goodbye
        [vec![0, 2, 2], counted(&[0xc0]), vec![2, 1], counted(&[0xc1, 4])].concat(),
        [vec![0, 7, 3, 1], counted(&[0x80, 0xc0])].concat(),
        [vec![1], counted(hello()), with(4, &[0xc2, 1, 0xc0])].concat(),
        [vec![0, 6], counted(&[0xff; 40])].concat(),
        [vec![0], with(4, &[0xc2, 1, 0xc0]), vec![4, 6], counted(&[3, 8, 0xc2, 1, 0xc0])].concat(),
    ];
    let all = eth_seeds().into_iter().filter(|seed| seed.len() < 460);
    let messages = all.map(|seed| [vec![seed[0], 4, 0, 0], with(seed[1], &seed[2..])].concat());
    let first =
        conversations.iter().flat_map(|rest| pieces.map(|first| [&first[..], rest].concat()));
    first.chain(messages).collect()
}

fn decompress(input: &[u8]) -> bool {
    snappy::decompress(input, MAX_MESSAGE_BYTES).is_ok_and(|data| {
        let again = Encoder::new().compress_vec(&data).unwrap();
        assert_eq!(snappy::decompress(&again, MAX_MESSAGE_BYTES).unwrap(), data);
        !data.is_empty()
    })
}

fn snappy_seeds() -> Vec<Vec<u8>> {
    let mut compressor = Encoder::new();
    let texts: [&[u8]; 4] =
        [b"", b"a", &[0; 3000], b"moorline moors lines where moorlines were moored"];
    let mut seeds = texts.map(|text| compressor.compress_vec(text).unwrap()).to_vec();
    // says that it holds 4 GiB
    seeds.push(vec![0xff, 0xff, 0xff, 0xff, 0x0f, 0, 0]);
    seeds
}
