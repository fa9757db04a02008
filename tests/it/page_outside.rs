//! The page with other people's programs: behind the real nginx and Caddy, with the snippets that are
//! shipped, and in the real Chromium.

use std::fs;
use std::process::Command;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use tempfile::TempDir;

use crate::outside::{Proxy, free_address, installed, machine_program, replace, shipped};
use crate::page::{Desk, SECRET, Seen, encoded};

fn nginx(page: &str) -> Proxy {
    let directory = TempDir::new().expect("a temporary directory can be made");
    let dir = directory.path();
    let address = free_address();
    let mut snippet = shipped("systemd/nginx-page.conf");
    replace(&mut snippet, "127.0.0.1:4243", page);
    replace(&mut snippet, "/etc/nginx/", &format!("{}/", dir.display()));
    let users = "anna:{PLAIN}anna-s\nbert:{PLAIN}bert-s\n";
    fs::write(dir.join("fulfilld.htpasswd"), users).expect("users can be written");
    let secret = format!("proxy_set_header X-Fulfilld-Page-Secret \"{SECRET}\";\n");
    fs::write(dir.join("fulfilld-page-secret.conf"), secret).expect("it can be written");
    let bodies = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("{kind}_temp_path {}/{kind};\n", dir.display()))
        .concat();
    let whole = format!(
        "daemon off; master_process off; pid {0}/pid; error_log {0}/log;\nevents {{ worker_connections 64; }}\n\
         http {{\naccess_log off;\n{bodies}server {{ listen {address};\n{snippet}\n}}\n}}\n",
        dir.display()
    );
    fs::write(dir.join("nginx.conf"), whole).expect("a configuration can be written");
    let mut command = Command::new(installed(".tools/debian/usr/sbin/nginx"));
    command.arg("-e").arg(dir.join("log")).arg("-c").arg(dir.join("nginx.conf"));
    command.arg("-p").arg(dir);
    Proxy::start("nginx", address, command, directory)
}

fn caddy(page: &str) -> Proxy {
    let directory = TempDir::new().expect("a temporary directory can be made");
    let dir = directory.path();
    let address = free_address();
    let caddy = installed(".venv/bin/caddy");
    let hashed = |password: &str| {
        let out = Command::new(&caddy)
            .args(["hash-password", "--plaintext", password])
            .output()
            .expect("caddy hashes a password");
        String::from_utf8_lossy(&out.stdout).trim().to_string()
    };
    let mut snippet = shipped("systemd/Caddyfile-page");
    replace(&mut snippet, "127.0.0.1:4243", page);
    let users = format!("anna {}\n\t\tbert {}\n", hashed("anna-s"), hashed("bert-s"));
    replace(&mut snippet, "anna $2a$14$PUT.THE.HASH.HERE\n", &users);
    let whole = format!(
        "{{\n\tadmin off\n}}\nhttp://:{} {{\n\tbind 127.0.0.1\n{snippet}\n}}\n",
        address.port()
    );
    fs::write(dir.join("Caddyfile"), whole).expect("a configuration can be written");
    let mut command = Command::new(&caddy);
    command.args(["run", "--adapter", "caddyfile", "--config"]).arg(dir.join("Caddyfile"));
    command.env("HOME", dir).env("XDG_CONFIG_HOME", dir).env("XDG_DATA_HOME", dir);
    command.env("FULFILLD_PAGE_SECRET", SECRET);
    Proxy::start("caddy", address, command, directory)
}

#[test]
fn behind_nginx_and_caddy_somebody_is_who_they_logged_in_as_and_no_one_else() {
    let desk = Desk::open(&["card", "card"]);
    for (n, proxy) in [nginx(&desk.host), caddy(&desk.host)].iter().enumerate() {
        let (word, order) = (proxy.word, n + 1);
        let host = proxy.address.to_string();
        let login =
            |user: &str| format!("Basic {}", BASE64_STANDARD.encode(format!("{user}:{user}-s")));
        let ask = |method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]| -> Seen {
            Desk::ask_at(&host, method, path, headers, body)
        };
        let (anna, bert) = (login("anna"), login("bert"));
        let (anna, bert) = (("Authorization", anna.as_str()), ("Authorization", bert.as_str()));
        // Whoever is not logged in sees nothing, whatever they send along.
        let forged = [("X-Fulfilld-User", "anna"), ("X-Fulfilld-Page-Secret", SECRET)];
        assert_eq!(ask("GET", "/desk/pack", &forged, b"").status, 401, "{word}");
        let wrong = ("Authorization", "Basic YW5uYTp3cm9uZw==");
        assert_eq!(ask("GET", "/desk/pack", &[wrong], b"").status, 401, "{word}");
        // Whoever is logged in as bert is not anna for saying so.
        let seen = ask("GET", "/desk/books", &[bert, forged[0], forged[1]], b"");
        assert!(
            seen.status == 403 && seen.shows("bert may pack and ship"),
            "{word}: {}",
            seen.body
        );
        assert_eq!(ask("GET", "/desk/books", &[anna], b"").status, 200, "{word}");
        // A form goes through, and the history names who sent it.
        let page = format!("/desk/order/{order}");
        let seen = ask("GET", &page, &[anna], b"");
        let (token, version) = (seen.field("token"), seen.field("seen"));
        let body = encoded(&[("token", &token), ("seen", &version), ("reason", word)]);
        let origin = format!("http://{host}");
        let typed = ("Content-Type", "application/x-www-form-urlencoded");
        let headers = [anna, ("Origin", origin.as_str()), typed];
        let done = ask("POST", &format!("{page}/hold"), &headers, body.as_bytes());
        assert_eq!((done.status, done.header("Location")), (303, page), "{word}: {}", done.body);
        let held = format!(
            "SELECT actor || ' ' || new FROM order_history WHERE order_id = {order} AND what = 'hold_reason'"
        );
        assert_eq!(desk.shop.one(&held), format!("page:anna {word}"));
    }
}

#[test]
fn chromium_shows_every_part_and_each_flow_works_with_a_keyboard_and_without_a_script() {
    let desk = Desk::open(&["mixed", "card", "card", "card", "refunded-in-part", "yen"]);
    let evil = "UPDATE orders SET shipping_name = '<script>alert(1)</script>' WHERE id = 3";
    desk.shop.shell(evil).expect("a name may be corrected");
    let pictures = TempDir::new().expect("a temporary directory can be made");
    machine_program("chromium");
    let out = machine_program("node")
        .arg(installed("page.mjs"))
        .arg(format!("http://{}/desk/", desk.host))
        .args([SECRET, &pictures.path().display().to_string(), "chromium"])
        .output()
        .expect("node runs");
    let said = String::from_utf8_lossy(&[out.stdout, out.stderr].concat()).into_owned();
    assert!(out.status.success(), "{said}");
    assert_eq!(said.lines().filter(|line| line.starts_with("ok ")).count(), 8, "{said}");
    desk.shop.check();
}
