//! Stripe's refusals, in its own words.

use serde_json::{Value, json};

use crate::http::Response;

/// 400 for a parameter that cannot be used.
pub fn invalid(code: &str, message: &str, param: &str) -> Response {
    error(
        400,
        json!({"code": code, "message": message, "param": param, "type": "invalid_request_error"}),
    )
}

/// 404 for an id that stands for nothing of that kind.
pub fn missing(kind: &str, id: &str) -> Response {
    let message = format!("No such {kind}: '{id}'");
    error(
        404,
        json!({"code": "resource_missing", "message": message, "param": "id", "type": "invalid_request_error"}),
    )
}

/// 404 for a path that there is not.
pub fn unknown_path(method: &str, path: &str) -> Response {
    let message = format!(
        "Unrecognized request URL ({method}: {path}). The sandbox answers what fulfilld asks."
    );
    error(404, json!({"message": message, "type": "invalid_request_error"}))
}

/// 401 without a test key, or with one that has `expired` in it.
pub fn unauthorized(key: Option<&str>) -> Response {
    let message = match key {
        None => "You did not provide an API key. You need to provide your API key in the Authorization header, using \
                 Bearer auth (e.g. 'Authorization: Bearer YOUR_SECRET_KEY')."
            .into(),
        Some(key) if key.contains("expired") => {
            let message = format!("Expired API Key provided: {}", hidden(key));
            return error(401, json!({"code": "api_key_expired", "message": message, "type": "invalid_request_error"}));
        }
        Some(key) => format!("Invalid API Key provided: {}", hidden(key)),
    };
    error(401, json!({"message": message, "type": "invalid_request_error"}))
}

/// 403 for what a restricted key may not read.
pub fn not_permitted(key: Option<&str>, permission: &str) -> Response {
    let message = format!(
        "The provided key '{}' does not have the required permissions for this endpoint on account \
         'acct_1TheShopOfTheSandbox'. Enabling {permission} permissions on this key would \
         allow this request to continue.",
        hidden(key.unwrap_or_default())
    );
    error(
        403,
        json!({"code": "more_permissions_required", "message": message, "type": "invalid_request_error"}),
    )
}

/// A key as Stripe repeats it.
fn hidden(key: &str) -> String {
    let shown: String = key.chars().take(8).collect();
    format!("{shown}****")
}

/// 429 of the rate limiter.
pub fn rate_limited() -> Response {
    let message = "Request rate limit exceeded. Learn more about rate limits here https://stripe.com/docs/rate-limits.";
    error(429, json!({"code": "rate_limit", "message": message, "type": "invalid_request_error"}))
        .with("Stripe-Rate-Limited-Reason", "endpoint-rate")
}

/// What Stripe says with any status, for a fault that a test set.
pub fn with_status(status: u16) -> Response {
    let (code, kind, message) = match status {
        401 => return unauthorized(Some("sk_test_refused")),
        429 => return rate_limited(),
        403 => (
            "more_permissions_required",
            "invalid_request_error",
            "The provided key does not have the required permissions for this: the sandbox was told to say so.",
        ),
        404 => (
            "resource_missing",
            "invalid_request_error",
            "No such object: the sandbox was told to say so",
        ),
        409 => (
            "lock_timeout",
            "invalid_request_error",
            "This object cannot be accessed right now; another request holds it.",
        ),
        500.. => (
            "api_error",
            "api_error",
            "Something went wrong on Stripe's end: the sandbox was told to say so.",
        ),
        _ => ("sandbox_fault", "invalid_request_error", "The sandbox was told to refuse."),
    };
    error(status, json!({"code": code, "message": message, "type": kind}))
}

fn error(status: u16, mut why: Value) -> Response {
    if let Some(code) = why["code"].as_str() {
        why["doc_url"] =
            json!(format!("https://stripe.com/docs/error-codes/{}", code.replace('_', "-")));
    }
    Response::json(status, &json!({"error": why}))
}
