//! `engine_getPayloadBodies`: what the store has of blocks that the consensus client keeps without
//! their transactions (execution-apis, `engine/shanghai.md` and `engine/amsterdam.md`).

use std::{sync::Arc, time::Duration};

use alloy_eips::eip4895::Withdrawal;
use alloy_primitives::{B256, Bytes, U64};
use jsonrpsee::types::{ErrorObjectOwned, Params};
use moorline_http::UntilSent;
use moorline_kit::{Ask, Port};
use moorline_messages::{Body, PayloadBlocks, StoreAnswer, StoreError, StoreQuery};
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use tokio::{sync::Semaphore, time::timeout};

use crate::{
    errors::{internal, invalid_params, too_large_request},
    params::Arguments,
};

/// How the edge asks the store.
pub type StorePort = Port<Ask<StoreQuery, Result<StoreAnswer, StoreError>>>;

/// Longest wait for bodies; the specification gives 10 s.
pub(crate) const BODIES_WAIT: Duration = Duration::from_secs(8);
/// Most bodies in one call, as many as reth gives; the specification wants 32 at least.
const BODIES_MAX: usize = 1_024;
/// Most that the bodies of one call may weigh. Their answer is twice that in hexadecimal digits, and
/// has to fit into 128 MiB.
const BODIES_MAX_BYTES: usize = 48 << 20;
/// Calls whose bodies are in memory at a time, as such or as an answer that was not read yet; others wait.
pub(crate) const BODIES_CALLS_MAX: usize = 2;

/// Which of the methods, each with its version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum GetBodies {
    ByHashV1,
    ByHashV2,
    ByRangeV1,
    ByRangeV2,
}

impl GetBodies {
    fn read(self, params: &Params<'_>) -> Result<PayloadBlocks, ErrorObjectOwned> {
        let mut arguments = Arguments::of(params)?;
        let (blocks, count) = match self {
            Self::ByHashV1 | Self::ByHashV2 => {
                let hashes: Vec<B256> = arguments.read("blockHashes")?;
                let count = u64::try_from(hashes.len()).unwrap_or(u64::MAX);
                (PayloadBlocks::Hashes(hashes), count)
            }
            Self::ByRangeV1 | Self::ByRangeV2 => {
                let start = arguments.read::<U64>("start")?.to();
                let count = arguments.read::<U64>("count")?.to();
                if start == 0 || count == 0 {
                    return Err(invalid_params("start and count must be at least 1"));
                }
                (PayloadBlocks::Range { start, count }, count)
            }
        };
        arguments.end()?;
        if count > BODIES_MAX as u64 {
            let reason = format_args!("{count} bodies are asked for, and {BODIES_MAX} are allowed");
            return Err(too_large_request(reason));
        }
        Ok(blocks)
    }
}

/// `ExecutionPayloadBodyV1` or `V2`.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct PayloadBody {
    transactions: Vec<Bytes>,
    withdrawals: Option<Vec<Withdrawal>>,
    /// Absent in V1; null in V2, since no access lists are kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    block_access_list: Option<()>,
}

/// Reads bodies.
pub(crate) struct Bodies {
    store: StorePort,
    room: Arc<Semaphore>,
}

impl Bodies {
    pub(crate) fn new(store: StorePort) -> Self {
        Self { store, room: Arc::new(Semaphore::new(BODIES_CALLS_MAX)) }
    }

    /// The answer to a call, as JSON: there may be a hundred megabytes of it, which have a place until they
    /// are sent.
    pub(crate) async fn get(
        &self,
        method: GetBodies,
        params: &Params<'_>,
        places: UntilSent,
    ) -> Result<Box<RawValue>, ErrorObjectOwned> {
        let blocks = method.read(params)?;
        let has_access_list = matches!(method, GetBodies::ByHashV2 | GetBodies::ByRangeV2);
        let answered = async {
            places.hold(&self.room).await.map_err(internal)?;
            let bodies = self.read(blocks).await?;
            // who waits no longer does not end the work, which keeps the place
            let places = places.clone();
            let json = tokio::task::spawn_blocking(move || {
                let _places = places;
                json(bodies, has_access_list)
            });
            json.await.map_err(internal)?.map_err(internal)
        };
        timeout(BODIES_WAIT, answered)
            .await
            .unwrap_or_else(|_| Err(internal("the bodies did not come in time")))
    }

    async fn read(&self, blocks: PayloadBlocks) -> Result<Vec<Option<Body>>, ErrorObjectOwned> {
        let query = StoreQuery::PayloadBodies { blocks, budget_bytes: BODIES_MAX_BYTES };
        match self.store.ask(query).await {
            Ok(Ok(StoreAnswer::PayloadBodies(Some(bodies)))) => Ok(bodies),
            Ok(Ok(StoreAnswer::PayloadBodies(None))) => Err(too_large_request(format_args!(
                "the bodies weigh more than {BODIES_MAX_BYTES} bytes; ask for fewer at a time"
            ))),
            Ok(Ok(_)) => Err(internal("the store answered another question")),
            Ok(Err(error)) => Err(internal(error)),
            Err(error) => Err(internal(format_args!("the store did not answer: {error}"))),
        }
    }
}

fn json(
    bodies: Vec<Option<Body>>,
    has_access_list: bool,
) -> Result<Box<RawValue>, serde_json::Error> {
    let shown = |body: Body| PayloadBody {
        transactions: body.transactions,
        withdrawals: body.withdrawals,
        block_access_list: has_access_list.then_some(()),
    };
    let all: Vec<_> = bodies.into_iter().map(|body| body.map(shown)).collect();
    to_raw_value(&all)
}
