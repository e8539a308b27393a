//! The file format of `java.util.Properties`, as far as configurations use it.

/// One `key=value` of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Property {
    /// Of the line it begins on, from 1.
    pub line: usize,
    pub key: String,
    /// Without the space around it, as ZooKeeper reads it.
    pub value: String,
}

/// Reads all properties in order. Nothing is malformed: a line without a separator is a key with an empty value.
pub fn parse(text: &str) -> Vec<Property> {
    let mut properties = Vec::new();
    let mut lines = text.lines().enumerate();
    while let Some((index, line)) = lines.next() {
        let line = line.trim_start();
        if line.is_empty() || line.starts_with(['#', '!']) {
            continue;
        }
        let mut whole = line.to_owned();
        while is_continued(&whole) {
            whole.pop();
            // The end of the file ends the property, too.
            let Some((_, next)) = lines.next() else { break };
            whole.push_str(next.trim_start());
        }
        let (key, value) = split(&whole);
        properties.push(Property {
            line: index + 1,
            key: unescape(key),
            value: unescape(value).trim().to_owned(),
        });
    }
    properties
}

/// An even number of backslashes at the end is that many halves of escaped ones.
fn is_continued(line: &str) -> bool {
    line.chars().rev().take_while(|c| *c == '\\').count() % 2 == 1
}

/// A key ends at the first space, `=` or `:` that is not escaped; one separator and the space around it is dropped.
fn split(line: &str) -> (&str, &str) {
    let mut escaped = false;
    let end = line.find(|c: char| {
        let ends = !escaped && (c.is_whitespace() || c == '=' || c == ':');
        escaped = c == '\\' && !escaped;
        ends
    });
    let (key, rest) = line.split_at(end.unwrap_or(line.len()));
    let rest = rest.trim_start();
    (key, rest.strip_prefix(['=', ':']).unwrap_or(rest).trim_start())
}

fn unescape(text: &str) -> String {
    let mut chars = text.chars();
    let mut plain = String::with_capacity(text.len());
    while let Some(c) = chars.next() {
        match c {
            '\\' => plain.extend(chars.next().map(|escaped| match escaped {
                't' => '\t',
                'n' => '\n',
                'r' => '\r',
                'f' => '\u{c}',
                other => other,
            })),
            other => plain.push(other),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Vec<(usize, String, String)> {
        parse(text).into_iter().map(|property| (property.line, property.key, property.value)).collect()
    }

    fn one(line: usize, key: &str, value: &str) -> (usize, String, String) {
        (line, key.to_owned(), value.to_owned())
    }

    #[test]
    fn comments_and_empty_lines_count_but_say_nothing() {
        let text =
            "# a comment\n! another\n\n  tickTime = 2000  \r\n#dataDir=/x\ndataDir=/y # not a comment\n";
        assert_eq!(parsed(text), [one(4, "tickTime", "2000"), one(6, "dataDir", "/y # not a comment")]);
    }

    #[test]
    fn a_backslash_at_the_end_continues_the_line() {
        let text = "4lw.commands.whitelist=srvr,\\\n    ruok\na=1\\\\\nb=2\\";
        let expected = [one(1, "4lw.commands.whitelist", "srvr,ruok"), one(3, "a", "1\\"), one(4, "b", "2")];
        assert_eq!(parsed(text), expected);
    }

    #[test]
    fn separators_and_escapes_are_java_s() {
        let text = "a:1\nb 2\nc = = 3\nd\ne\\:f=g\\=h\nserver.1=zk:2888:3888;2181\n";
        let expected = [
            one(1, "a", "1"),
            one(2, "b", "2"),
            one(3, "c", "= 3"),
            one(4, "d", ""),
            one(5, "e:f", "g=h"),
            one(6, "server.1", "zk:2888:3888;2181"),
        ];
        assert_eq!(parsed(text), expected);
    }
}
