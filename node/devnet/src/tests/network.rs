//! The node's own devp2p edge against the devnet's peers, through nothing but messages.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use moorline_messages::{
    Blame, Block, BlockNumHash, CloseReason, DisconnectReason, FetchItems, FetchedItems,
    HashOrNumber, NodeRecord, PeerId, RequestId, SessionCommand, SessionEvent, SessionId,
};
use moorline_rlpx::{Network, NetworkConfig, NetworkHandle, random_key};
use moorline_rules::{ChainSpec, body_matches};
use tokio::{sync::mpsc, time::timeout};

use crate::{
    Behaviour, Chain, Devnet, Generator, MemoryChain, Profile, ServedChain, genesis_header,
    genesis_json,
};

const PATIENCE: Duration = Duration::from_secs(20);

/// A node's network, whose peer manager is the test.
struct Rig {
    network: NetworkHandle,
    events: mpsc::Receiver<SessionEvent>,
    requests: RequestId,
}

impl Rig {
    fn over(chain: Arc<dyn Chain>) -> Self {
        let spec = spec();
        let head = alloy_eip2124::Head { number: 0, ..Default::default() };
        let config = NetworkConfig::new(
            random_key(),
            spec.chain_id(),
            spec.genesis().hash(),
            spec.fork_filter(head),
        );
        let (sender, events) = mpsc::channel(64);
        let network = Network::start(config, Arc::new(ServedChain(chain)), sender).unwrap();
        Self { network, events, requests: RequestId::default() }
    }

    async fn order(&self, command: SessionCommand) {
        self.network.commands.send(command).await.unwrap();
    }

    async fn next(&mut self) -> SessionEvent {
        timeout(PATIENCE, self.events.recv()).await.expect("an event").unwrap()
    }

    /// Dials, and says how it went.
    async fn dial(&mut self, node: NodeRecord) -> Result<SessionId, CloseReason> {
        self.order(SessionCommand::Dial { node }).await;
        match self.next().await {
            SessionEvent::Opened { session, peer } => {
                assert_eq!(peer.id, node.id);
                Ok(session)
            }
            SessionEvent::DialFailed { reason, .. } => Err(reason),
            other => panic!("{other:?}"),
        }
    }

    async fn fetch(
        &mut self,
        session: SessionId,
        items: FetchItems,
    ) -> Result<FetchedItems, CloseReason> {
        let request = self.requests.take();
        self.order(SessionCommand::Fetch { session, request, items }).await;
        match self.next().await {
            SessionEvent::Answered { request: of, items, .. } => {
                assert_eq!(of, request);
                Ok(items)
            }
            SessionEvent::Closed { reason, .. } => Err(reason),
            other => panic!("{other:?}"),
        }
    }
}

fn spec() -> Arc<ChainSpec> {
    Arc::new(ChainSpec::from_genesis_json(&genesis_json()).unwrap())
}

fn blocks() -> Vec<Block> {
    Generator::new(Profile::Small, 3).take(120).collect()
}

fn chain_of(blocks: &[Block]) -> Arc<MemoryChain> {
    let chain = MemoryChain::new(Arc::new(genesis_header()));
    chain.extend(blocks.iter().cloned()).unwrap();
    Arc::new(chain)
}

fn headers_down_from(block: &Block) -> FetchItems {
    FetchItems::Headers { top: HashOrNumber::Hash(block.header.hash()), limit: 10 }
}

fn bodies_of(blocks: &[Block]) -> FetchItems {
    FetchItems::Bodies { blocks: blocks.iter().map(|b| BlockNumHash::of(&b.header)).collect() }
}

fn blamed(reason: &CloseReason) -> bool {
    reason.blame() == Blame::Peer
}

#[tokio::test]
async fn the_nodes_network_fetches_from_an_honest_peer() {
    let blocks = blocks();
    let mix = [(Behaviour::Honest, Duration::ZERO)];
    let devnet = Devnet::start(chain_of(&blocks), spec(), mix).await.unwrap();
    let mut rig = Rig::over(chain_of(&[]));
    let session = rig.dial(devnet.records()[0]).await.unwrap();
    let Ok(FetchedItems::Headers(headers)) =
        rig.fetch(session, headers_down_from(&blocks[99])).await
    else {
        panic!("no headers")
    };
    let expected: Vec<_> = blocks[90..100].iter().rev().map(|b| b.header.hash()).collect();
    assert_eq!(headers.iter().map(|header| header.hash()).collect::<Vec<_>>(), expected);
    let Ok(FetchedItems::Bodies(bodies)) = rig.fetch(session, bodies_of(&blocks)).await else {
        panic!("no bodies")
    };
    assert_eq!(bodies.len(), blocks.len());
    for (block, body) in blocks.iter().zip(&bodies) {
        body_matches(&block.header, body).unwrap();
    }
}

#[tokio::test]
async fn the_nodes_network_holds_against_hostile_peers_what_they_do() {
    let blocks = blocks();
    let mix = Behaviour::ALL.map(|behaviour| (behaviour, Duration::ZERO));
    let devnet = Devnet::start(chain_of(&blocks), spec(), mix).await.unwrap();
    let mut rig = Rig::over(chain_of(&[]));
    for peer in devnet.peers() {
        let behaviour = peer.behaviour();
        let session = match (behaviour, rig.dial(peer.record()).await) {
            // it does not prove to be who was dialled, who is not to blame then
            (Behaviour::GarbageBeforeHandshake, Err(CloseReason::Network(_))) => continue,
            (Behaviour::OtherNetwork, Err(CloseReason::OtherNetwork(_))) => continue,
            (_, dialled) => dialled.unwrap_or_else(|reason| panic!("{behaviour}: {reason}")),
        };
        if matches!(behaviour, Behaviour::Silent | Behaviour::Dribbles) {
            // the clock that gives up on them is the peer manager's
            continue;
        }
        let first = rig.fetch(session, headers_down_from(&blocks[60])).await;
        let second = match &first {
            Ok(_) => Some(rig.fetch(session, bodies_of(&blocks[50..60])).await),
            Err(_) => None,
        };
        match behaviour {
            Behaviour::SnappyBomb | Behaviour::OversizeFrame => {
                assert!(first.is_err_and(|reason| blamed(&reason)), "{behaviour}");
            }
            Behaviour::LacksBodies => assert!(second.unwrap().unwrap().is_empty()),
            Behaviour::ShortAnswers => assert_eq!(second.unwrap().unwrap().len(), 1),
            Behaviour::DisconnectsAfter(_) => {
                assert_eq!(second.unwrap().unwrap().len(), 10);
                let SessionEvent::Closed { reason, .. } = rig.next().await else { panic!() };
                assert_eq!(reason, CloseReason::Remote(DisconnectReason::ClientQuitting));
            }
            // what these send is well-formed: only who asked can tell
            _ => assert_eq!(first.unwrap().len() + second.unwrap().unwrap().len(), 20),
        }
    }
    let connections: BTreeMap<PeerId, u64> =
        devnet.peers().iter().map(|peer| (peer.record().id, peer.stats().connections)).collect();
    assert!(connections.values().all(|connections| *connections == 1), "{connections:?}");
}

#[tokio::test]
async fn two_networks_sync_over_a_served_chain() {
    let blocks = blocks();
    let serving = Rig::over(chain_of(&blocks));
    let mut asking = Rig::over(chain_of(&[]));
    let session = asking.dial(serving.network.local_record()).await.unwrap();
    let headers = asking.fetch(session, headers_down_from(&blocks[119])).await.unwrap();
    assert_eq!(headers.len(), 10);
    assert_eq!(asking.fetch(session, bodies_of(&blocks)).await.unwrap().len(), 120);
}
