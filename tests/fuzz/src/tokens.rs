//! What the Engine API reads of a request before it lets it in: the `Authorization` header.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use moorline_engine_api::{JwtSecret, fuzzing::admit};
use sha2::Sha256;

use crate::{
    Target,
    script::{Script, counted},
};

/// Headers, and tokens that are signed whatever they say.
pub(crate) const TOKENS: Target =
    Target { name: "tokens", max_len: 512, read: tokens, seeds: token_seeds };

const SECRET: [u8; 32] = [7; 32];
const NOW_S: u64 = 1_800_000_000;

fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(NOW_S)
}

fn tokens(input: &[u8]) -> bool {
    let mut script = Script::new(input);
    let secret = JwtSecret::new(SECRET);
    let header = match script.below(4) {
        0 => script.rest().to_vec(),
        1 => [b"Bearer ", script.rest()].concat(),
        _ => signed(script.counted(), script.rest()),
    };
    admit(&secret, &header, now()).is_ok()
}

/// A header with a token that says this and is signed with the secret.
fn signed(head: &[u8], claims: &[u8]) -> Vec<u8> {
    let encode = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
    let signed = format!("{}.{}", encode(head), encode(claims));
    let mut key = [0; 64];
    key[..SECRET.len()].copy_from_slice(&SECRET);
    let mac = Hmac::<Sha256>::new(&key.into()).chain_update(signed.as_bytes()).finalize();
    format!("Bearer {signed}.{}", encode(&mac.into_bytes())).into_bytes()
}

fn token_seeds() -> Vec<Vec<u8>> {
    let token = JwtSecret::new(SECRET).token(now());
    let head = counted(br#"{"alg":"HS256","typ":"JWT"}"#);
    let claims = format!(r#"{{"iat":{NOW_S},"exp":1800000009.5}}"#);
    vec![
        format!("\0bearer {token}").into_bytes(),
        format!("\x01{token}").into_bytes(),
        [vec![2], head, claims.into_bytes()].concat(),
    ]
}
