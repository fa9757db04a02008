//! What a form sends: fields, and a file.

use std::borrow::Cow;

/// The fields of a form or of a query, in their order; the same name may come several times.
#[derive(Debug, Default, Clone)]
pub struct Form(Vec<(String, String)>);

/// A multipart form has no more parts than this; ours have five.
const PARTS_MAX: usize = 64;

impl Form {
    /// Of `application/x-www-form-urlencoded` text. What is not UTF-8 is replaced.
    pub fn of(encoded: &[u8]) -> Form {
        let owned = |(name, value): (Cow<str>, Cow<str>)| (name.into_owned(), value.into_owned());
        Form(form_urlencoded::parse(encoded).map(owned).collect())
    }

    /// The first field of that name without the blanks around it; empty where there is none.
    pub fn text(&self, name: &str) -> &str {
        self.0.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value.trim())
    }

    /// The same, `None` where nothing stands in it.
    pub fn filled(&self, name: &str) -> Option<&str> {
        Some(self.text(name)).filter(|text| !text.is_empty())
    }

    /// A whole number.
    pub fn number(&self, name: &str) -> Option<i64> {
        self.text(name).parse().ok()
    }

    /// All fields of that name.
    pub fn all<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(known, _)| known == name).map(|(_, value)| value.trim())
    }

    /// The fields whose name begins so, by what follows in the name.
    pub fn beginning<'a>(&'a self, prefix: &str) -> impl Iterator<Item = (&'a str, &'a str)> {
        let rest = move |(name, value): &'a (String, String)| {
            name.strip_prefix(prefix).map(|rest| (rest, value.trim()))
        };
        self.0.iter().filter_map(rest)
    }
}

/// The parts of a `multipart/form-data` body: the fields, and the bytes of the file named `file`.
/// `None` where the body is none: a boundary is missing, or a part has no name.
pub fn multipart<'a>(content_type: &str, body: &'a [u8]) -> Option<(Form, &'a [u8])> {
    let boundary = content_type
        .split(';')
        .map(str::trim)
        .find_map(|part| part.strip_prefix("boundary=").map(|value| value.trim_matches('"')))?;
    if boundary.is_empty() || boundary.len() > 70 {
        return None;
    }
    let delimiter = [b"\r\n--", boundary.as_bytes()].concat();
    let mut rest = body.strip_prefix(&delimiter[2..])?;
    let (mut fields, mut file) = (Vec::new(), &body[..0]);
    for _ in 0..PARTS_MAX {
        if rest.starts_with(b"--") {
            return Some((Form(fields), file));
        }
        rest = rest.strip_prefix(b"\r\n")?;
        let (head, after) = split(rest, b"\r\n\r\n")?;
        let (content, after) = split(after, &delimiter)?;
        match name(head)? {
            name if name == "file" => file = content,
            name => fields.push((name, String::from_utf8_lossy(content).into_owned())),
        }
        rest = after;
    }
    None
}

/// What stands before the first mark, and after it.
fn split<'a>(bytes: &'a [u8], mark: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let at = bytes.windows(mark.len()).position(|window| window == mark)?;
    Some((&bytes[..at], &bytes[at + mark.len()..]))
}

/// `name` in a part's Content-Disposition.
fn name(head: &[u8]) -> Option<String> {
    let head = std::str::from_utf8(head).ok()?;
    let line = head.split("\r\n").find(|line| {
        line.get(..20).is_some_and(|name| name.eq_ignore_ascii_case("content-disposition:"))
    })?;
    let (_, name) = line.split_once(" name=\"")?;
    name.split_once('"').map(|(name, _)| name.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_is_read_as_browsers_send_it() {
        let form = Form::of(b"a=+1+&b=%C3%A9%26&a=2&q_3=x&empty=");
        assert_eq!((form.text("a"), form.text("b"), form.text("c")), ("1", "\u{e9}&", ""));
        assert_eq!(
            (form.number("a"), form.number("b"), form.filled("empty")),
            (Some(1), None, None)
        );
        assert_eq!(form.all("a").collect::<Vec<_>>(), ["1", "2"]);
        assert_eq!(form.beginning("q_").collect::<Vec<_>>(), [("3", "x")]);
    }

    #[test]
    fn a_file_is_read_to_the_byte_and_half_a_body_is_none() {
        let body = b"--xx\r\nContent-Disposition: form-data; name=\"token\"\r\n\r\nabc\r\n--xx\r\n\
            content-disposition: form-data; name=\"file\"; filename=\"a.csv\"\r\nContent-Type: text/csv\r\n\r\n\
            a,b\r\n--x\r\n\xff\r\n--xx--\r\n";
        let (form, file) = multipart("multipart/form-data; boundary=xx", body).unwrap();
        assert_eq!((form.text("token"), file), ("abc", &b"a,b\r\n--x\r\n\xff"[..]));
        for cut in 0..body.len() - 4 {
            assert!(multipart("multipart/form-data; boundary=xx", &body[..cut]).is_none(), "{cut}");
        }
        assert!(multipart("multipart/form-data", body).is_none());
        assert!(multipart("multipart/form-data; boundary=", body).is_none());
    }
}
