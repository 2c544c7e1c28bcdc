//! Who is let in.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::{Rig, SECRET, client::post, jwt::sign};
use crate::JwtSecret;

#[tokio::test]
async fn a2_a4_only_a_good_token_opens_the_port() {
    let rig = Rig::new().await;
    let now = SystemTime::now();
    let iat = now.duration_since(UNIX_EPOCH).unwrap().as_secs();
    let old = SECRET.token(now - Duration::from_secs(70));
    let early = SECRET.token(now + Duration::from_secs(70));
    let expired = sign(json!({"alg": "HS256"}), json!({"iat": iat, "exp": iat - 1}));
    let good = SECRET.token(now);
    for (authorization, status) in [
        (None, 401),
        (Some(format!("Bearer {}", JwtSecret::new([8; 32]).token(now))), 401),
        (Some(format!("Bearer {}", sign(json!({"alg": "none"}), json!({"iat": iat})))), 401),
        (Some(format!("Bearer {old}")), 401),
        (Some(format!("Bearer {early}")), 401),
        (Some(format!("Bearer {expired}")), 401),
        (Some("Bearer ".to_owned()), 401),
        (Some(good.clone()), 401),
        (Some(format!("Basic {good}")), 401),
        (Some(format!("Bearer {good}")), 200),
        (Some(format!("bearer {good}")), 200),
    ] {
        let mut headers = vec!["Host: localhost:8551".to_owned()];
        headers.extend(authorization.map(|value| format!("Authorization: {value}")));
        let request = Rig::request("eth_chainId", json!([])).to_string();
        let (found, body) = post(rig.addr, &headers, &request).await;
        assert_eq!(found, status, "{headers:?} {body}");
        assert_eq!(body.contains("jsonrpc"), status == 200, "{body}");
    }
}

#[tokio::test]
async fn a3_hives_seven_tokens_get_what_hive_expects() {
    let rig = Rig::new().await;
    let (now, other) = (SystemTime::now(), JwtSecret::new([0x73; 32]));
    let shorter = JwtSecret::new([vec![0; 9], vec![7; 23]].concat().try_into().unwrap());
    for (secret, drift_seconds, status) in [
        (&SECRET, 0, 200),
        (&other, 0, 401),
        (&shorter, 0, 401),
        (&SECRET, -70, 401),
        (&SECRET, 70, 401),
        (&SECRET, -55, 200),
        (&SECRET, 55, 200),
    ] {
        let drift = Duration::from_secs(u64::from(i32::unsigned_abs(drift_seconds)));
        let at = if drift_seconds < 0 { now - drift } else { now + drift };
        let headers =
            ["Host: localhost".to_owned(), format!("Authorization: Bearer {}", secret.token(at))];
        let request = Rig::request("eth_chainId", json!([])).to_string();
        let (found, body) = post(rig.addr, &headers, &request).await;
        assert_eq!(found, status, "{drift_seconds} {body}");
    }
}

#[tokio::test]
async fn a4_without_a_token_not_even_garbage_is_read() {
    let rig = Rig::new().await;
    let (status, body) = post(rig.addr, &["Host: localhost".to_owned()], "{garbage").await;
    assert_eq!((status, body.as_str()), (401, "missing token"));

    let token = format!("Authorization: Bearer {}", SECRET.token(SystemTime::now()));
    let (_, body) = post(rig.addr, &["Host: localhost".to_owned(), token], "{garbage").await;
    assert!(body.contains("-32700"), "{body}");
}

#[tokio::test]
async fn the_port_may_be_called_by_any_name_since_the_token_is_what_counts() {
    let rig = Rig::new().await;
    let token = format!("Authorization: Bearer {}", SECRET.token(SystemTime::now()));
    let request = Rig::request("eth_chainId", json!([])).to_string();
    for host in ["execution:8551", "10.0.0.7:8551"] {
        let headers = [format!("Host: {host}"), token.clone()];
        assert_eq!(post(rig.addr, &headers, &request).await.0, 200);
    }
}

#[tokio::test]
async fn a_stranger_does_not_keep_its_connection() {
    let rig = Rig::new().await;
    let mut stream = TcpStream::connect(rig.addr).await.unwrap();
    stream.write_all(b"POST / HTTP/1.1\r\nHost: us\r\nContent-Length: 0\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
}
