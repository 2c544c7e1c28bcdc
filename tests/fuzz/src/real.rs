//! Inputs that nobody on this project wrote, from `../shared/data` where that is beside the checkout.

use std::{fs, path::PathBuf};

use serde_json::Value;

/// Real inputs of a target; none where there are none, or where the data is not there.
pub fn inputs(target: &str) -> Vec<Vec<u8>> {
    let found = match target {
        "handshake_packets" => handshakes(),
        "eth" => messages(),
        "discv4_packets" => datagrams(),
        "blocks" => chain(),
        _ => None,
    };
    found.unwrap_or_default()
}

/// Whether the data is there.
pub fn is_present() -> bool {
    path("").is_dir()
}

fn path(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "../../../shared/data", name].iter().collect()
}

fn json(name: &str) -> Option<Value> {
    serde_json::from_slice(&fs::read(path(name)).ok()?).ok()
}

fn unhex(value: &Value) -> Vec<u8> {
    hex::decode(value.as_str().unwrap().trim_start_matches("0x")).unwrap()
}

fn prefixed(prefix: &[u8], bytes: &[u8]) -> Vec<u8> {
    [prefix, bytes].concat()
}

/// `auth` packets for the key that the targets listen with (EIP-8's own).
fn handshakes() -> Option<Vec<Vec<u8>>> {
    let vectors = json("vectors/rlpx_eip8.json")?;
    let of = |kind: &str, first: u8| {
        let packets = vectors[kind].as_array().unwrap().iter();
        packets.map(|packet| prefixed(&[first], &unhex(&packet["input"]))).collect::<Vec<_>>()
    };
    Some([of("auth", 0), of("ack", 1)].concat())
}

fn messages() -> Option<Vec<Vec<u8>>> {
    let geth = json("vectors/eth_messages_geth.json")?;
    let geth = geth["messages"].as_array().unwrap().iter().map(|vector| {
        let id = id_of(vector["message"].as_str().unwrap());
        prefixed(&[1, id], &unhex(&vector["rlp"]))
    });
    let besu = fs::read_dir(path("besu/eth66-messages")).ok()?.flatten().filter_map(|file| {
        let name = file.file_name().into_string().ok()?;
        let vector = json(&format!("besu/eth66-messages/{name}"))?;
        Some(prefixed(&[2, id_of(&name)], &unhex(&vector["rlp"])))
    });
    Some(geth.chain(besu).collect())
}

/// Ids that no version has any more stand for messages that none has.
fn id_of(name: &str) -> u8 {
    match name.split("Packet").next().unwrap() {
        "GetBlockHeaders" => 0x03,
        "BlockHeaders" => 0x04,
        "GetBlockBodies" => 0x05,
        "BlockBodies" | "BlockBodiesRLP" => 0x06,
        "GetPooledTransactions" => 0x09,
        "PooledTransactions" | "PooledTransactionsRLP" => 0x0a,
        "GetReceipts" => 0x0f,
        "Receipts" => 0x10,
        _ => 0x0d,
    }
}

fn datagrams() -> Option<Vec<Vec<u8>>> {
    let vectors = json("vectors/discv4_eip8.json")?;
    let packets = vectors["packets"].as_array()?.iter();
    Some(packets.map(|packet| prefixed(&[0], &unhex(&packet["input"]))).collect())
}

/// The first blocks of a chain, which are the first bytes of its file.
fn chain() -> Option<Vec<Vec<u8>>> {
    let bytes = fs::read(path("geth-ethtest/chain.rlp")).ok()?;
    Some(bytes.chunks(4096).take(8).map(<[u8]>::to_vec).collect())
}
