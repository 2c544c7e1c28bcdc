//! The `engine` methods: between JSON-RPC and the tree.

use std::{sync::Arc, time::Duration};

use alloy_primitives::{FixedBytes, hex};
use jsonrpsee::{
    RpcModule,
    core::RegisterMethodError,
    types::{ErrorObjectOwned, Params},
};
use moorline_http::UntilSent;
use moorline_kit::{Ask, Port};
use moorline_messages::{TreeRequest, TreeVerdict};
use moorline_rules::ChainSpec;
use serde::Serialize;
use tokio::time::timeout;

use crate::{
    bodies::{Bodies, GetBodies},
    errors::invalid_forkchoice_state,
    forkchoice::{ForkchoiceUpdated, Response},
    params::Arguments,
    payload::{NewPayload, Rejected},
    status::{PayloadStatus, Status},
    unsupported,
};

/// How the edge asks the tree.
pub type TreePort = Port<Ask<TreeRequest, TreeVerdict>>;

/// Longest wait for a verdict before the answer is SYNCING. Consensus clients wait 8 s, and 6 s for
/// `engine_newPayloadV5` (execution-apis, "timeout" of each method).
pub const TREE_WAIT: Duration = Duration::from_secs(4);

/// Longest wait for all that is made of a payload, the tree's verdict included, before the answer is
/// SYNCING.
pub(crate) const PAYLOAD_WAIT: Duration = Duration::from_secs(5);

const EXCHANGE_CAPABILITIES: &str = "engine_exchangeCapabilities";

/// `ClientVersionV1` (execution-apis, `engine/identification.md`). `ML` is nobody else's code.
#[derive(Clone, Debug, Serialize)]
struct ClientVersion {
    code: &'static str,
    name: &'static str,
    version: &'static str,
    commit: FixedBytes<4>,
}

/// What the methods need.
pub(crate) struct EngineMethods {
    pub(crate) tree: TreePort,
    pub(crate) tree_wait: Duration,
    pub(crate) spec: Arc<ChainSpec>,
    pub(crate) bodies: Bodies,
}

impl EngineMethods {
    /// Makes the module. `engine_exchangeCapabilities` lists what is registered before it, so the
    /// list cannot go stale.
    pub(crate) fn into_module(self) -> Result<RpcModule<()>, RegisterMethodError> {
        let mut module = RpcModule::new(self);
        for (name, version) in [
            ("engine_newPayloadV1", NewPayload::V1),
            ("engine_newPayloadV2", NewPayload::V2),
            ("engine_newPayloadV3", NewPayload::V3),
            ("engine_newPayloadV4", NewPayload::V4),
            ("engine_newPayloadV5", NewPayload::V5),
        ] {
            module.register_async_method(name, move |params, engine, _| async move {
                engine.new_payload(version, params).await
            })?;
        }
        for (name, version) in [
            ("engine_forkchoiceUpdatedV1", ForkchoiceUpdated::V1),
            ("engine_forkchoiceUpdatedV2", ForkchoiceUpdated::V2),
            ("engine_forkchoiceUpdatedV3", ForkchoiceUpdated::V3),
            ("engine_forkchoiceUpdatedV4", ForkchoiceUpdated::V4),
        ] {
            module.register_async_method(name, move |params, engine, _| async move {
                engine.forkchoice_updated(version, params).await
            })?;
        }
        for (name, method) in [
            ("engine_getPayloadBodiesByHashV1", GetBodies::ByHashV1),
            ("engine_getPayloadBodiesByHashV2", GetBodies::ByHashV2),
            ("engine_getPayloadBodiesByRangeV1", GetBodies::ByRangeV1),
            ("engine_getPayloadBodiesByRangeV2", GetBodies::ByRangeV2),
        ] {
            module.register_async_method(name, move |params, engine, call| async move {
                let places = call.get::<UntilSent>().cloned().unwrap_or_default();
                engine.bodies.get(method, &params, places).await
            })?;
        }
        module.register_method("engine_getClientVersionV1", |_, _, _| {
            Ok::<_, ErrorObjectOwned>([client_version()])
        })?;
        let mut capabilities: Vec<_> = module.method_names().collect();
        capabilities.sort_unstable();
        module.register_method(EXCHANGE_CAPABILITIES, move |params, _, _| {
            let mut arguments = Arguments::of(&params)?;
            arguments.read::<Vec<String>>("capabilities")?;
            arguments.end()?;
            Ok::<_, ErrorObjectOwned>(capabilities.clone())
        })?;
        unsupported::register(&mut module)?;
        Ok(module.remove_context())
    }

    /// Within [`PAYLOAD_WAIT`], whatever it is that takes longer.
    pub(crate) async fn new_payload(
        &self,
        version: NewPayload,
        params: Params<'static>,
    ) -> Result<PayloadStatus, ErrorObjectOwned> {
        timeout(PAYLOAD_WAIT, self.judge(version, params)).await.unwrap_or_else(|_| {
            let waited_ms = PAYLOAD_WAIT.as_millis();
            tracing::warn!(waited_ms, "a payload is not checked yet, the answer is SYNCING");
            Ok(PayloadStatus::syncing())
        })
    }

    async fn judge(
        &self,
        version: NewPayload,
        params: Params<'static>,
    ) -> Result<PayloadStatus, ErrorObjectOwned> {
        let spec = Arc::clone(&self.spec);
        // hashing a full block takes long enough to hold up the other connections
        let proved = tokio::task::spawn_blocking(move || {
            version.read(&params, &spec).map(|parts| version.block(parts))
        });
        let block = match proved.await {
            Ok(Ok(Ok(block))) => block,
            Ok(Ok(Err(rejected))) => return Ok(self.reject(rejected).await),
            Ok(Err(error)) => return Err(error),
            Err(error) => {
                tracing::error!(%error, "a payload could not be checked, the answer is SYNCING");
                return Ok(PayloadStatus::syncing());
            }
        };
        let hash = block.header.hash();
        let verdict = self.ask_tree(TreeRequest::NewPayload(block)).await;
        Ok(PayloadStatus::of_verdict(verdict, hash, self.spec.genesis().hash()))
    }

    /// The answer to a payload that is INVALID by itself. The tree is told of it first where the block is bad,
    /// so that it is so wherever it comes from; what the tree says, or whether it does, changes nothing.
    async fn reject(&self, Rejected { status, bad }: Rejected) -> PayloadStatus {
        let reason = status.validation_error.clone().unwrap_or_default();
        tracing::warn!(reason, "the consensus client sent an invalid payload");
        if let Some(header) = bad {
            let told =
                timeout(self.tree_wait, self.tree.ask(TreeRequest::BadPayload { header, reason }));
            if !matches!(told.await, Ok(Ok(_))) {
                tracing::warn!("the tree did not hear of an invalid payload");
            }
        }
        status
    }

    async fn forkchoice_updated(
        &self,
        version: ForkchoiceUpdated,
        params: Params<'static>,
    ) -> Result<Response, ErrorObjectOwned> {
        // nothing is awaited before the tree is asked: that keeps the order of arrival
        let update = version.read(&params)?;
        let verdict = match self.ask_tree(TreeRequest::ForkchoiceUpdated(update.forkchoice)).await {
            TreeVerdict::Inconsistent { reason } => return Err(invalid_forkchoice_state(reason)),
            // ACCEPTED is not among the answers to this call
            TreeVerdict::Accepted => TreeVerdict::Syncing,
            verdict => verdict,
        };
        let genesis = self.spec.genesis();
        let payload_status =
            PayloadStatus::of_verdict(verdict, update.forkchoice.head, genesis.hash());
        if payload_status.status == Status::Valid
            && let Some(attributes) = &update.attributes
        {
            version.check_attributes(attributes, genesis.timestamp, &self.spec)?;
        }
        Ok(Response { payload_status, payload_id: None })
    }

    /// SYNCING, where there is no verdict in time: an error would make the consensus client refuse
    /// the block.
    async fn ask_tree(&self, request: TreeRequest) -> TreeVerdict {
        match timeout(self.tree_wait, self.tree.ask(request)).await {
            Ok(Ok(verdict)) => verdict,
            Ok(Err(error)) => {
                tracing::warn!(%error, "the tree has no verdict, the answer is SYNCING");
                TreeVerdict::Syncing
            }
            Err(_) => {
                let waited_ms = self.tree_wait.as_millis();
                tracing::warn!(waited_ms, "the tree has no verdict yet, the answer is SYNCING");
                TreeVerdict::Syncing
            }
        }
    }
}

/// The first bytes of a commit's hash; zeros where the build was not told of it.
pub(crate) fn commit_bytes(hash: Option<&str>) -> [u8; 4] {
    hash.and_then(|hash| hash.get(..8))
        .and_then(|hash| hex::decode_to_array::<_, 4>(hash).ok())
        .unwrap_or_default()
}

/// `MOORLINE_COMMIT`, where the build was given it, is the hash of the commit it was made from.
fn client_version() -> ClientVersion {
    let commit = commit_bytes(option_env!("MOORLINE_COMMIT"));
    ClientVersion {
        code: "ML",
        name: "Moorline",
        version: concat!("v", env!("CARGO_PKG_VERSION")),
        commit: FixedBytes(commit),
    }
}
