//! The sandbox over HTTP, as the daemon uses it.

mod lists;
mod payments;
mod controls;

use serde_json::Value;

use super::*;

impl Sandbox {
    fn call(&self, method: &str, path: &str, body: &str) -> (u16, Value) {
        let agent: ureq::Agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .proxy(None)
            .build()
            .into();
        let request = ureq::http::Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.base_url()))
            .header("Authorization", format!("Bearer {KEY}"));
        let mut answer = agent.run(request.body(body.to_string()).unwrap()).unwrap();
        let body = answer.body_mut().read_to_vec().unwrap();
        (answer.status().as_u16(), serde_json::from_slice(&body).unwrap_or(Value::Null))
    }

    fn get(&self, path: &str) -> Value {
        let (status, value) = self.call("GET", path, "");
        assert_eq!(status, 200, "{path}: {value}");
        value
    }

    fn refusal(&self, path: &str) -> (u16, String) {
        let (status, value) = self.call("GET", path, "");
        (status, value["error"]["message"].as_str().unwrap_or_default().into())
    }

    fn buy(&self, scenario: &str, count: usize) -> Vec<Purchase> {
        self.trigger(&Trigger { count, ..Trigger::of(scenario) }).unwrap()
    }
}

fn sandbox() -> Sandbox {
    Sandbox::start(Options { rate_per_s: 0, ..Options::default() }).unwrap()
}

fn ids(list: &Value) -> Vec<String> {
    list["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["id"].as_str().unwrap().to_string())
        .collect()
}

/// The types of a purchase's events.
fn kinds(purchase: &Purchase) -> Vec<&str> {
    purchase.events.iter().map(|event| event.kind.as_str()).collect()
}
