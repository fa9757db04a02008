//! The code page of a file for a label service, and the signs that it has.

use serde::Deserialize;
use unicode_normalization::UnicodeNormalization;

/// How text becomes bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum Charset {
    #[serde(rename = "utf-8")]
    Utf8,
    #[serde(rename = "windows-1252")]
    Windows1252,
    #[serde(rename = "iso-8859-1")]
    Latin1,
    #[serde(rename = "iso-8859-15")]
    Latin9,
}

impl Charset {
    /// Its name as a format file writes it.
    pub fn name(self) -> &'static str {
        match self {
            Charset::Utf8 => "UTF-8",
            Charset::Windows1252 => "windows-1252",
            Charset::Latin1 => "ISO-8859-1",
            Charset::Latin9 => "ISO-8859-15",
        }
    }

    /// The text as this code page can have it: letters are one sign with their accent, and a quote,
    /// a dash or a blank that it lacks is the plain one. No letter is ever replaced.
    pub fn fitted(self, text: &str) -> String {
        text.nfc()
            .map(|c| match c {
                c if self.encode_sign(c).is_some() => c,
                '\u{2018}' | '\u{2019}' | '\u{201A}' | '\u{2032}' => '\'',
                '\u{201C}' | '\u{201D}' | '\u{201E}' | '\u{2033}' => '"',
                '\u{2010}'..='\u{2015}' | '\u{2212}' => '-',
                c if c.is_whitespace() => ' ',
                c => c,
            })
            .collect()
    }

    /// The first sign of the text that this code page lacks.
    pub fn lacks(self, text: &str) -> Option<char> {
        text.chars().find(|c| self.encode_sign(*c).is_none())
    }

    /// The bytes; `None` where the code page lacks a sign.
    pub fn encode(self, text: &str) -> Option<Vec<u8>> {
        match self {
            Charset::Utf8 => Some(text.as_bytes().to_vec()),
            _ => text.chars().map(|c| self.encode_sign(c)).collect(),
        }
    }

    /// The one byte of a sign in a code page of one byte a sign; for UTF-8 whether there is one.
    fn encode_sign(self, c: char) -> Option<u8> {
        let table = match self {
            Charset::Utf8 => return Some(0),
            // encoding_rs knows this name only as another one of windows-1252.
            Charset::Latin1 => return u8::try_from(u32::from(c)).ok(),
            Charset::Windows1252 => encoding_rs::WINDOWS_1252,
            Charset::Latin9 => encoding_rs::ISO_8859_15,
        };
        let mut utf8 = [0; 4];
        let (bytes, _, replaced) = table.encode(c.encode_utf8(&mut utf8));
        (!replaced).then(|| bytes[0])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_character_is_one_byte_of_its_code_page_or_it_is_reported() {
        for (charset, text, bytes) in [
            (Charset::Windows1252, "Zoë’s €", Some(&b"Zo\xeb\x92s \x80"[..])),
            (Charset::Latin1, "Größe", Some(&b"Gr\xf6\xdfe"[..])),
            (Charset::Latin1, "€", None),
            (Charset::Latin9, "€", Some(&b"\xa4"[..])),
            (Charset::Windows1252, "Łódź", None),
            (Charset::Utf8, "Łódź", Some("Łódź".as_bytes())),
        ] {
            let bytes = bytes.map(<[u8]>::to_vec);
            assert_eq!(charset.encode(text), bytes, "{text}");
            assert_eq!(charset.lacks(text).is_none(), bytes.is_some(), "{text}");
        }
    }

    #[test]
    fn an_accent_beside_its_letter_and_typographic_signs_fit_and_no_letter_is_replaced() {
        let latin1 = Charset::Latin1;
        assert_eq!(latin1.fitted("Mu\u{308}ller’s – “A”\u{2009}B"), "Müller's - \"A\" B");
        assert_eq!(Charset::Windows1252.fitted("O’Brien"), "O’Brien");
        assert_eq!(latin1.fitted("Łódź 🫖"), "Łódź 🫖");
        assert_eq!(latin1.lacks("Łódź"), Some('Ł'));
    }
}
