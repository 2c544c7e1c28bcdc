//! What every request passes: read-only, and called by a name of this machine.

use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header},
    middleware::Next,
    response::{IntoResponse, Response},
};

/// Names of this machine. Another in `Host` is a page of the web whose name was bound to this address.
const LOCAL_NAMES: [&str; 3] = ["127.0.0.1", "localhost", "[::1]"];
/// The port that `Host` may leave out (RFC 9110, section 4.2.1).
const HTTP_PORT: u16 = 80;

/// What the guard knows of the server it stands before.
#[derive(Clone, Debug)]
pub(crate) struct Guard {
    pub(crate) port: u16,
    pub(crate) policy: HeaderValue,
}

/// Refuses what is not a plain `GET` to this machine, and gives each answer its security headers.
pub(crate) async fn stand(State(guard): State<Guard>, request: Request, next: Next) -> Response {
    let refusal = refusal(&request, guard.port);
    let mut response = match refusal {
        Some(refusal) => refusal,
        None => next.run(request).await,
    };
    secure(response.headers_mut(), &guard.policy);
    response
}

fn refusal(request: &Request, port: u16) -> Option<Response> {
    if !names_this_machine(request.headers(), request.uri(), port) {
        let text = "this name is not one of the viewer's: open it as 127.0.0.1 or localhost\n";
        return Some((StatusCode::MISDIRECTED_REQUEST, text).into_response());
    }
    // another page may link to this one, and neither start a download nor take the places of readers
    let asker = request.headers().get("sec-fetch-site");
    if asker.is_some_and(|site| site == "cross-site") && request.uri().path() != "/" {
        let text = "another site asks: open the viewer itself\n";
        return Some((StatusCode::FORBIDDEN, text).into_response());
    }
    if request.method() != Method::GET {
        let allow = [(header::ALLOW, "GET")];
        let text = "the viewer is read-only: GET is all it answers\n";
        return Some((StatusCode::METHOD_NOT_ALLOWED, allow, text).into_response());
    }
    if has_body(request.headers()) {
        let close = [(header::CONNECTION, "close")];
        let text = "a GET to the viewer carries no body\n";
        return Some((StatusCode::PAYLOAD_TOO_LARGE, close, text).into_response());
    }
    None
}

fn names_this_machine(headers: &HeaderMap, uri: &Uri, port: u16) -> bool {
    let mut hosts = headers.get_all(header::HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else { return false };
    let target_is_ours = uri.authority().is_none_or(|target| is_ours(target.as_str(), port));
    target_is_ours && host.to_str().is_ok_and(|host| is_ours(host, port))
}

fn is_ours(host: &str, port: u16) -> bool {
    let host = &*host.to_ascii_lowercase();
    LOCAL_NAMES.iter().any(|name| {
        let Some(rest) = host.strip_prefix(name) else { return false };
        match rest.strip_prefix(':') {
            Some(digits) => digits == port.to_string(),
            None => rest.is_empty() && port == HTTP_PORT,
        }
    })
}

fn has_body(headers: &HeaderMap) -> bool {
    headers.contains_key(header::TRANSFER_ENCODING)
        || headers.get(header::CONTENT_LENGTH).is_some_and(|length| length != "0")
}

fn secure(headers: &mut HeaderMap, policy: &HeaderValue) {
    headers.insert(header::CONTENT_SECURITY_POLICY, policy.clone());
    let fixed = [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ];
    for (name, value) in fixed {
        headers.insert(name, HeaderValue::from_static(value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_this_machine_with_the_right_port_are_answered() {
        for host in ["127.0.0.1:9000", "localhost:9000", "[::1]:9000"] {
            assert!(is_ours(host, 9000), "{host}");
        }
        for host in [
            "127.0.0.1",
            "localhost:9001",
            "localhost.evil.example:9000",
            "evil.example:9000",
            "127.0.0.1:9000:9000",
            "127.0.0.1.evil.example:9000",
            "",
            "[::1]9000",
            "localhost:",
        ] {
            assert!(!is_ours(host, 9000), "{host}");
        }
        assert!(is_ours("localhost", HTTP_PORT));
    }
}
