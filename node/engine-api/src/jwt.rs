//! The secret that both clients share, and the tokens it signs (execution-apis,
//! `engine/authentication.md`): HS256 and nothing else.

use std::{
    fmt,
    fs::{File, OpenOptions},
    io::{self, Read, Write},
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use alloy_primitives::hex;
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use moorline_messages::Blame;
use rand::{TryRngCore, rngs::OsRng};
use serde::Deserialize;
use sha2::Sha256;
use thiserror::Error;

/// Length of the secret.
const SECRET_BYTES: usize = 32;
/// Most that is read of a secret file; a good one is a tenth of it.
const SECRET_FILE_MAX_BYTES: u64 = 1_024;
/// How far a token's time of issue may be from ours, either way.
const DRIFT_MAX_SECONDS: f64 = 60.0;
/// Longest token that is looked at.
const TOKEN_MAX_BYTES: usize = 8_192;
/// HMAC fills its key up to this many bytes with zeros (RFC 2104).
const HMAC_KEY_BYTES: usize = 64;

/// The 32 bytes that the consensus client and this node share.
#[derive(Clone, PartialEq, Eq)]
pub struct JwtSecret {
    bytes: [u8; SECRET_BYTES],
}

/// Why there is no secret.
#[derive(Debug, Error)]
pub enum JwtSecretError {
    /// The file cannot be read.
    #[error("cannot read the JWT secret {}: {source}; name a readable file with --authrpc.jwtsecret", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file holds something else than hexadecimal digits.
    #[error("the JWT secret in {} is not hexadecimal; write 64 hexadecimal digits into it", path.display())]
    NotHex {
        /// The file.
        path: PathBuf,
    },
    /// The file holds too many or too few digits.
    #[error("the JWT secret in {} has {digits} hexadecimal digits; it must have 64", path.display())]
    Length {
        /// The file.
        path: PathBuf,
        /// How many digits it holds.
        digits: usize,
    },
    /// No new file can be written. An existing one is never replaced.
    #[error("cannot create the JWT secret {}: {source}", path.display())]
    Create {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl JwtSecretError {
    /// Whose fault it was.
    pub const fn blame(&self) -> Blame {
        Blame::Node
    }
}

/// Why a request is not let in.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum TokenError {
    /// There is no `Authorization: Bearer` header.
    #[error("missing token")]
    Missing,
    /// The token is no JWT, or its claims are not those of one.
    #[error("malformed token")]
    Malformed,
    /// The token is signed in another way than HS256, or not at all.
    #[error("the token's algorithm must be HS256")]
    Algorithm,
    /// The token was signed with another secret.
    #[error("the token's signature is wrong; both clients must use the same secret")]
    Signature,
    /// The token was issued too long ago or too far in the future.
    #[error("the token's iat is more than 60 seconds from now; check both clocks")]
    Stale,
    /// The token says of itself that its time is over.
    #[error("the token has expired")]
    Expired,
}

impl TokenError {
    /// Whose fault it was: whoever called.
    pub const fn blame(&self) -> Blame {
        Blame::Peer
    }
}

#[derive(Deserialize)]
struct Header {
    alg: String,
}

/// Claims beyond these are ignored, as the specification demands.
#[derive(Deserialize)]
struct Claims {
    iat: f64,
    exp: Option<f64>,
}

impl JwtSecret {
    /// A secret from its bytes.
    pub const fn new(bytes: [u8; SECRET_BYTES]) -> Self {
        Self { bytes }
    }

    /// Reads a secret: 64 hexadecimal digits, with or without `0x` and white space around.
    pub fn from_file(path: &Path) -> Result<Self, JwtSecretError> {
        let path = path.to_path_buf();
        let mut text = Vec::new();
        File::open(&path)
            .and_then(|file| file.take(SECRET_FILE_MAX_BYTES).read_to_end(&mut text))
            .map_err(|source| JwtSecretError::Read { path: path.clone(), source })?;
        let Ok(text) = String::from_utf8(text) else {
            return Err(JwtSecretError::NotHex { path });
        };
        let text = text.trim();
        let digits = text.strip_prefix("0x").unwrap_or(text);
        if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(JwtSecretError::NotHex { path });
        }
        match hex::decode_to_array(digits) {
            Ok(bytes) => Ok(Self { bytes }),
            Err(_) => Err(JwtSecretError::Length { path, digits: digits.len() }),
        }
    }

    /// Makes up a secret and writes it into a new file that only its owner may read.
    pub fn create(path: &Path) -> Result<Self, JwtSecretError> {
        let failed = |source| JwtSecretError::Create { path: path.to_path_buf(), source };
        let mut bytes = [0; SECRET_BYTES];
        OsRng.try_fill_bytes(&mut bytes).map_err(|error| failed(io::Error::other(error)))?;
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(path).map_err(failed)?;
        writeln!(file, "{}", hex::encode(bytes)).and_then(|()| file.sync_all()).map_err(failed)?;
        Ok(Self { bytes })
    }

    /// A token issued at `now`, good for a minute. A consensus client makes one for every request.
    pub fn token(&self, now: SystemTime) -> String {
        let header = BASE64_URL_SAFE_NO_PAD.encode(br#"{"alg":"HS256","typ":"JWT"}"#);
        let claims = BASE64_URL_SAFE_NO_PAD.encode(format!(r#"{{"iat":{}}}"#, unix_seconds(now)));
        let signed = format!("{header}.{claims}");
        let signature = self.mac(signed.as_bytes()).finalize().into_bytes();
        format!("{signed}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature))
    }

    /// Whether a token lets its bearer in at `now`. The signature is compared in constant time.
    pub fn check(&self, token: &str, now: SystemTime) -> Result<(), TokenError> {
        if token.len() > TOKEN_MAX_BYTES {
            return Err(TokenError::Malformed);
        }
        let (signed, signature) = token.rsplit_once('.').ok_or(TokenError::Malformed)?;
        let (header, claims) = signed.split_once('.').ok_or(TokenError::Malformed)?;
        let header: Header = part(header)?;
        if header.alg != "HS256" {
            return Err(TokenError::Algorithm);
        }
        let signature = decode(signature)?;
        self.mac(signed.as_bytes()).verify_slice(&signature).map_err(|_| TokenError::Signature)?;
        let claims: Claims = part(claims)?;
        check_times(&claims, unix_seconds(now) as f64)
    }

    fn mac(&self, message: &[u8]) -> Hmac<Sha256> {
        let mut key = [0; HMAC_KEY_BYTES];
        for (filled, byte) in key.iter_mut().zip(self.bytes) {
            *filled = byte;
        }
        Hmac::<Sha256>::new(&key.into()).chain_update(message)
    }
}

/// Shows nothing of the secret: this ends up in logs.
impl fmt::Debug for JwtSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JwtSecret(..)")
    }
}

fn check_times(claims: &Claims, now: f64) -> Result<(), TokenError> {
    if (now - claims.iat).abs() > DRIFT_MAX_SECONDS {
        return Err(TokenError::Stale);
    }
    if claims.exp.is_some_and(|exp| exp <= now) {
        return Err(TokenError::Expired);
    }
    Ok(())
}

fn decode(part: &str) -> Result<Vec<u8>, TokenError> {
    BASE64_URL_SAFE_NO_PAD.decode(part).map_err(|_| TokenError::Malformed)
}

fn part<T: for<'a> Deserialize<'a>>(part: &str) -> Result<T, TokenError> {
    serde_json::from_slice(&decode(part)?).map_err(|_| TokenError::Malformed)
}

fn unix_seconds(now: SystemTime) -> u64 {
    now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
