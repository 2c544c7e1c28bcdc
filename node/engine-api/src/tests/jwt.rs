//! Secrets and tokens.

use std::{
    fs,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;

use super::SECRET;
use crate::{JwtSecret, JwtSecretError, TokenError};

const NOW: u64 = 1_700_000_000;

/// Signs any header and claims with [`SECRET`].
pub(super) fn sign(header: Value, claims: Value) -> String {
    let encode = |value: Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", encode(header), encode(claims));
    let mut mac = Hmac::<Sha256>::new_from_slice(&[7; 32]).unwrap();
    mac.update(signed.as_bytes());
    format!("{signed}.{}", BASE64_URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes()))
}

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

fn check(claims: Value) -> Result<(), TokenError> {
    SECRET.check(&sign(json!({"alg": "HS256", "typ": "JWT"}), claims), at(NOW))
}

#[test]
fn the_token_on_the_front_page_of_jwt_io_is_good_at_its_time() {
    let mut key = [0; 32];
    key[..19].copy_from_slice(b"your-256-bit-secret");
    let token = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.\
                 eyJzdWIiOiIxMjM0NTY3ODkwIiwibmFtZSI6IkpvaG4gRG9lIiwiaWF0IjoxNTE2MjM5MDIyfQ.\
                 SflKxwRJSMeKKF2QT4fwpMeJf36POk6yJV_adQssw5c";
    assert_eq!(JwtSecret::new(key).check(token, at(1_516_239_022)), Ok(()));
    assert_eq!(SECRET.check(token, at(1_516_239_022)), Err(TokenError::Signature));
}

#[test]
fn a3_a_token_is_good_for_a_minute_either_way() {
    for (drift, expected) in [
        (-61, Err(TokenError::Stale)),
        (-60, Ok(())),
        (-5, Ok(())),
        (0, Ok(())),
        (60, Ok(())),
        (61, Err(TokenError::Stale)),
        (1_000_000, Err(TokenError::Stale)),
    ] {
        let now = NOW.checked_add_signed(drift).unwrap();
        assert_eq!(SECRET.check(&SECRET.token(at(NOW)), at(now)), expected, "{drift}");
    }
}

#[test]
fn a3_iat_is_needed_exp_is_heeded_and_other_claims_are_ignored() {
    assert_eq!(check(json!({})), Err(TokenError::Malformed));
    assert_eq!(check(json!({"iat": "now"})), Err(TokenError::Malformed));
    assert_eq!(check(json!({"iat": NOW, "exp": NOW + 1})), Ok(()));
    assert_eq!(check(json!({"iat": NOW, "exp": NOW})), Err(TokenError::Expired));
    assert_eq!(check(json!({"iat": NOW, "id": "cl", "clv": 3, "nbf": [1], "exp": null})), Ok(()));
}

#[test]
fn a2_no_algorithm_but_hs256_is_taken() {
    for alg in ["none", "None", "NONE", "HS512", "RS256", "hs256", ""] {
        let token = sign(json!({"alg": alg, "typ": "JWT"}), json!({"iat": NOW}));
        assert_eq!(SECRET.check(&token, at(NOW)), Err(TokenError::Algorithm), "{alg}");
        let (unsigned, _) = token.rsplit_once('.').unwrap();
        let unsigned = format!("{unsigned}.");
        assert_eq!(SECRET.check(&unsigned, at(NOW)), Err(TokenError::Algorithm), "{alg}");
    }
}

#[test]
fn no_byte_of_a_token_can_be_changed_or_left_out() {
    let token = SECRET.token(at(NOW));
    for index in 0..token.len() {
        let mut changed = token.clone().into_bytes();
        // the last digit of the signature carries two bits that mean nothing
        changed[index] = if changed[index] == b'A' { b'Q' } else { b'A' };
        let changed = String::from_utf8(changed).unwrap();
        assert!(SECRET.check(&changed, at(NOW)).is_err(), "{changed}");
        assert!(SECRET.check(&token[..index], at(NOW)).is_err(), "{index}");
    }
    for token in ["", ".", "..", "...", "a.b.c", &"x".repeat(100_000)] {
        assert_eq!(SECRET.check(token, at(NOW)), Err(TokenError::Malformed));
    }
}

#[test]
fn a5_a_secret_file_is_read_with_or_without_prefix_and_white_space() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("jwt.hex");
    let digits = "07".repeat(32);
    for text in [digits.clone(), format!("0x{digits}\n"), format!(" \t{digits}\r\n\n")] {
        fs::write(&path, &text).unwrap();
        assert_eq!(JwtSecret::from_file(&path).unwrap(), SECRET, "{text:?}");
    }
}

#[test]
fn a5_a_bad_secret_file_is_said_to_be_bad_in_one_sentence() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("jwt.hex");
    assert!(matches!(JwtSecret::from_file(&path), Err(JwtSecretError::Read { .. })));
    assert!(matches!(JwtSecret::from_file(dir.path()), Err(JwtSecretError::Read { .. })));

    for (digits, found) in [(0, 0), (63, 63), (65, 65), (100, 100)] {
        fs::write(&path, "a".repeat(digits)).unwrap();
        let error = JwtSecret::from_file(&path).unwrap_err();
        assert!(matches!(error, JwtSecretError::Length { digits, .. } if digits == found));
        assert!(error.to_string().contains("jwt.hex has "), "{error}");
    }
    for text in [b"g".repeat(64), b"\xff\xfe".repeat(32), b"07 07".to_vec()] {
        fs::write(&path, text).unwrap();
        assert!(matches!(JwtSecret::from_file(&path), Err(JwtSecretError::NotHex { .. })));
    }
}

#[test]
fn a5_a_secret_is_created_for_its_owner_alone_and_never_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("jwt.hex");
    let created = JwtSecret::create(&path).unwrap();
    assert_eq!(JwtSecret::from_file(&path).unwrap(), created);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }
    assert!(matches!(JwtSecret::create(&path), Err(JwtSecretError::Create { .. })));
    assert_eq!(JwtSecret::from_file(&path).unwrap(), created);
    assert_ne!(JwtSecret::create(&dir.path().join("other")).unwrap(), created);
    assert_eq!(format!("{created:?}"), "JwtSecret(..)");
}
