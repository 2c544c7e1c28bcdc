use alloy_eip2124::{ForkHash, ForkId, Head};
use moorline_rules::ChainSpec;

use crate::{
    Bootnode, BootnodeError,
    key::NodeKey,
    record::{LocalRecord, SignedRecord},
};

const FORK: ForkId = ForkId { hash: ForkHash([1, 2, 3, 4]), next: 5 };

/// The example of EIP-778.
const EXAMPLE: &str = "enr:-IS4QHCYrYZbAKWCBRlAy5zzaDZXJBGkcnh4MHcBFZntXNFrdvJjX04jRzjzCBOonrkTfj499SZuOh8R33Ls8RRcy5wBgmlkgnY0gmlwhH8AAAGJc2VjcDI1NmsxoQPKY0yuDUmstAHYpMa2_oxVtw0RW_QAdpzBQA8yWM0xOIN1ZHCCdl8";

fn key(number: u8) -> NodeKey {
    NodeKey::new(&[number; 32]).unwrap()
}

fn local(fork_id: ForkId) -> LocalRecord {
    LocalRecord::new(key(1), Some([1, 2, 3, 4].into()), 30_303, 30_304, fork_id, 7).unwrap()
}

#[test]
fn the_example_of_eip_778_is_read() {
    let record = SignedRecord::from_text(EXAMPLE).unwrap();
    assert_eq!(record.seq(), 1);
    assert_eq!(record.udp_addr(), Some("127.0.0.1:30303".parse().unwrap()));
    assert_eq!(record.tcp_addr(), None);
    assert_eq!(record.fork_id(), None);
    let secret = "b71c71a67e1177ad4e901695e1b4b9ee17ae16c6668d313eac2f96dbcda3f291";
    let key = NodeKey::new(&super::unhex_array(secret)).unwrap();
    assert_eq!(record.id(), key.id());
}

#[test]
fn a_record_with_one_letter_changed_is_none() {
    let letters: Vec<_> = EXAMPLE.chars().collect();
    for at in 4..letters.len() {
        let mut damaged = letters.clone();
        damaged[at] = if damaged[at] == 'A' { 'B' } else { 'A' };
        let damaged: String = damaged.into_iter().collect();
        // the last letter carries bits that belong to no byte
        let unchanged = SignedRecord::from_text(&damaged)
            .is_none_or(|read| at + 1 == letters.len() && read.seq() == 1);
        assert!(unchanged, "letter {at}");
    }
    assert!(SignedRecord::from_text(&format!("{EXAMPLE}{}", "A".repeat(400))).is_none());
}

#[test]
fn our_record_says_where_we_are_and_which_fork_we_are_on() {
    let record = SignedRecord::decode(&local(FORK).rlp()).unwrap();
    assert_eq!((record.id(), record.seq()), (key(1).id(), 7));
    assert_eq!(record.fork_id(), Some(FORK));
    assert_eq!(record.tcp_addr(), Some("1.2.3.4:30304".parse().unwrap()));
    assert_eq!(record.udp_addr(), Some("1.2.3.4:30303".parse().unwrap()));
}

#[test]
fn a_node_that_nobody_can_dial_names_no_port_to_dial() {
    let record = LocalRecord::new(key(1), Some([1, 2, 3, 4].into()), 30_303, 0, FORK, 7).unwrap();
    let read = SignedRecord::decode(&record.rlp()).unwrap();
    assert_eq!(read.tcp_addr(), None);
    assert_eq!(read.udp_addr(), Some("1.2.3.4:30303".parse().unwrap()));
    assert!(record.enode().ends_with("@1.2.3.4:0?discport=30303"), "{}", record.enode());
}

#[test]
fn at_a_fork_the_record_is_signed_again_under_a_higher_number() {
    // Osaka and the BPO forks of mainnet, by time
    let spec = ChainSpec::mainnet();
    let mut filter = spec.fork_filter(Head::default());
    let mut record = local(filter.current());
    assert!(!record.set_fork_id(filter.current()).unwrap());
    let mut seq = record.seq();
    for (number, timestamp) in [(1_150_000, 0), (23_000_000, 1_750_000_000), (24_000_000, u64::MAX)]
    {
        filter.set_head(Head { number, timestamp, ..Head::default() });
        assert!(record.set_fork_id(filter.current()).unwrap());
        let read = SignedRecord::decode(&record.rlp()).unwrap();
        assert_eq!(read.fork_id(), Some(filter.current()));
        assert!(read.seq() > seq);
        seq = read.seq();
    }
}

#[test]
fn our_enode_names_both_ports_where_they_differ() {
    let id = alloy_primitives::hex::encode(key(1).id().0);
    assert_eq!(local(FORK).enode(), format!("enode://{id}@1.2.3.4:30304?discport=30303"));
    let record = LocalRecord::new(key(1), Some([1, 2, 3, 4].into()), 5, 5, FORK, 1).unwrap();
    assert_eq!(record.enode(), format!("enode://{id}@1.2.3.4:5"));
    let bootnode: Bootnode = local(FORK).enode().parse().unwrap();
    let seed = bootnode.seed().unwrap();
    assert_eq!((seed.addr.port(), seed.tcp, seed.id), (30_303, 30_304, key(1).id()));
}

#[test]
fn what_is_no_bootnode_is_refused() {
    let id = alloy_primitives::hex::encode(key(1).id().0);
    let off_curve = "11".repeat(64);
    for (text, error) in [
        (String::new(), BootnodeError::Enode),
        (format!("enode://{id}@1.2.3.4:5?discport=x"), BootnodeError::Enode),
        (format!("enode://{off_curve}@1.2.3.4:5"), BootnodeError::Enode),
        (EXAMPLE.replace('Y', "Z"), BootnodeError::Record),
    ] {
        assert_eq!(text.parse::<Bootnode>().unwrap_err(), error, "{text}");
    }
    assert!(EXAMPLE.parse::<Bootnode>().unwrap().record().is_some());
}

#[test]
fn a_record_without_an_address_is_no_bootnode() {
    let record =
        |ip| LocalRecord::new(key(1), ip, 30_303, 30_304, FORK, 7).map(|record| record.text());
    let read = |ip| record(ip).unwrap().parse::<Bootnode>();
    assert_eq!(read(None).err(), Some(BootnodeError::Nowhere));
    assert!(read(Some([127, 0, 0, 1].into())).is_ok());
}
