//! The part of a JAAS file that servers of ZooKeeper use: the users of SASL DIGEST-MD5, with their passwords.
//!
//! ```text
//! Server {
//!     org.apache.zookeeper.server.auth.DigestLoginModule required
//!     user_alice="her password"
//!     user_bob="his password";
//! };
//! ```
//!
//! The grammar is that of Java's `ConfigFile`: words, strings in double quotes with backslash escapes, comments of C++.
//! A message about a file names the line and never what stands there, which may be a password.

use std::collections::HashMap;
use std::iter::Peekable;
use std::str::Chars;

use crate::config::Secret;

const DIGEST: &str = "DigestLoginModule";
const KERBEROS: &str = "Krb5LoginModule";

/// Users by name.
pub type Users = HashMap<String, Secret>;

/// Why the file cannot be used; lines count from 1.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JaasError {
    #[error("line {line}: expected {expected}")]
    Syntax { line: usize, expected: &'static str },
    #[error(
        "line {line}: Kerberos is not served: give users passwords by DigestLoginModule, or certificates"
    )]
    Kerberos { line: usize },
    #[error("line {line}: there is no such login module here: DigestLoginModule is the only one")]
    UnknownModule { line: usize },
}

/// The users of `section`; `None` if the file has no such section, which to ZooKeeper means that SASL is not served.
///
/// # Errors
/// [`JaasError`] if the file is none, or if the section asks for something else than passwords.
pub fn users(text: &str, section: &str) -> Result<Option<Users>, JaasError> {
    let mut tokens = Tokens { chars: text.chars().peekable(), line: 1 };
    let mut found = None;
    while let Some(name) = tokens.next()? {
        let Token::Text(name) = name else { return tokens.expected("the name of a section") };
        let modules = modules(&mut tokens)?;
        if name == section && found.is_none() {
            found = Some(modules);
        }
    }
    found.map(|modules| modules.into_iter().try_fold(Users::new(), add_users)).transpose()
}

/// One login module of a section.
struct Module {
    line: usize,
    class: String,
    options: Vec<(String, String)>,
}

fn add_users(mut users: Users, module: Module) -> Result<Users, JaasError> {
    let line = module.line;
    match module.class.rsplit('.').next() {
        Some(DIGEST) => {}
        Some(KERBEROS) => return Err(JaasError::Kerberos { line }),
        _ => return Err(JaasError::UnknownModule { line }),
    }
    for (name, value) in module.options {
        if let Some(user) = name.strip_prefix("user_") {
            users.insert(user.to_owned(), Secret::new(value));
        }
    }
    Ok(users)
}

/// From the brace behind a section's name to the semicolon behind the other one.
fn modules(tokens: &mut Tokens<'_>) -> Result<Vec<Module>, JaasError> {
    tokens.expect('{', "an opening brace behind a section's name")?;
    let mut modules = Vec::new();
    loop {
        match tokens.next()? {
            Some(Token::Text(class)) => modules.push(module(tokens, class)?),
            Some(Token::Sign('}')) => break,
            _ => return tokens.expected("a login module's class or a closing brace"),
        }
    }
    tokens.expect(';', "a semicolon behind a section")?;
    Ok(modules)
}

fn module(tokens: &mut Tokens<'_>, class: String) -> Result<Module, JaasError> {
    let line = tokens.line;
    let flags = ["required", "requisite", "sufficient", "optional"];
    match tokens.next()? {
        Some(Token::Text(flag)) if flags.iter().any(|known| flag.eq_ignore_ascii_case(known)) => {}
        _ => {
            return tokens
                .expected("required, requisite, sufficient or optional behind a login module's class");
        }
    }
    let mut options = Vec::new();
    loop {
        match tokens.next()? {
            Some(Token::Sign(';')) => return Ok(Module { line, class, options }),
            Some(Token::Text(name)) => {
                tokens.expect('=', "an equals sign behind an option's name")?;
                let Some(Token::Text(value)) = tokens.next()? else {
                    return tokens.expected("an option's value, in quotes");
                };
                options.push((name, value));
            }
            _ => return tokens.expected("an option, or a semicolon behind a login module"),
        }
    }
}

enum Token {
    Text(String),
    Sign(char),
}

struct Tokens<'a> {
    chars: Peekable<Chars<'a>>,
    line: usize,
}

impl Tokens<'_> {
    /// `None` at the end.
    fn next(&mut self) -> Result<Option<Token>, JaasError> {
        self.skip_space_and_comments()?;
        let Some(first) = self.take() else { return Ok(None) };
        match first {
            '{' | '}' | ';' | '=' => Ok(Some(Token::Sign(first))),
            '"' => self.quoted().map(Some),
            first => {
                let mut word = String::from(first);
                while let Some(c) = self.chars.next_if(|c| !c.is_whitespace() && !"{};=\"".contains(*c)) {
                    word.push(c);
                }
                Ok(Some(Token::Text(word)))
            }
        }
    }

    fn expect(&mut self, sign: char, expected: &'static str) -> Result<(), JaasError> {
        match self.next()? {
            Some(Token::Sign(found)) if found == sign => Ok(()),
            _ => self.expected(expected),
        }
    }

    fn expected<T>(&self, expected: &'static str) -> Result<T, JaasError> {
        Err(JaasError::Syntax { line: self.line, expected })
    }

    fn quoted(&mut self) -> Result<Token, JaasError> {
        let mut text = String::new();
        loop {
            match self.take() {
                Some('"') => return Ok(Token::Text(text)),
                Some('\\') => match self.take() {
                    Some('n') => text.push('\n'),
                    Some('t') => text.push('\t'),
                    Some('r') => text.push('\r'),
                    Some(other) => text.push(other),
                    None => return self.expected("a closing quote"),
                },
                Some('\n') | None => return self.expected("a closing quote on the same line"),
                Some(other) => text.push(other),
            }
        }
    }

    fn skip_space_and_comments(&mut self) -> Result<(), JaasError> {
        loop {
            let mut ahead = self.chars.clone();
            match (ahead.next(), ahead.next()) {
                (Some(c), _) if c.is_whitespace() => {
                    self.take();
                }
                (Some('/'), Some('/')) => while self.take().is_some_and(|c| c != '\n') {},
                (Some('/'), Some('*')) => {
                    let mut before = ' ';
                    self.take();
                    self.take();
                    loop {
                        match self.take() {
                            Some('/') if before == '*' => break,
                            Some(c) => before = c,
                            None => return self.expected("the end of a comment"),
                        }
                    }
                }
                _ => return Ok(()),
            }
        }
    }

    fn take(&mut self) -> Option<char> {
        let c = self.chars.next()?;
        if c == '\n' {
            self.line += 1;
        }
        Some(c)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Option<Vec<String>> {
        let users = users(text, "Server").expect("a valid file")?;
        let mut names: Vec<_> =
            users.into_iter().map(|(user, password)| format!("{user}:{}", password.reveal())).collect();
        names.sort();
        Some(names)
    }

    #[test]
    fn users_of_the_section_are_read() {
        let text = "// users\nClient { a.DigestLoginModule required username=\"x\" password=\"y\"; };\n\
                    Server {\n  org.apache.zookeeper.server.auth.DigestLoginModule required\n\
                    user_super=\"super_secret\" /* and\n more */ user_al=\"a \\\"b\\\\;{\" user_word=plain;\n};";
        let expected = ["al:a \"b\\;{", "super:super_secret", "word:plain"];
        assert_eq!(names(text), Some(expected.map(str::to_owned).to_vec()));
    }

    #[test]
    fn without_the_section_there_is_no_sasl() {
        assert_eq!(names(""), None);
        assert_eq!(names("Client { DigestLoginModule required; };"), None);
        assert_eq!(names("Server { DigestLoginModule required; };"), Some(vec![]));
    }

    #[test]
    fn kerberos_and_what_is_no_file_are_refused_with_the_line_and_no_text() {
        let refused = |text: &str| users(text, "Server").expect_err("no users").to_string();
        assert!(
            refused("\nServer { com.sun.security.auth.module.Krb5LoginModule required; };")
                .contains("Kerberos")
        );
        assert!(refused("Server { my.Module required; };").contains("DigestLoginModule is the only one"));
        for text in [
            "Server",
            "Server {",
            "Server { DigestLoginModule hunter2; };",
            "Server { DigestLoginModule required user_a=\"hunter2; };",
            "Server { DigestLoginModule required user_a \"hunter2\"; };",
            "Server { DigestLoginModule required user_a=\"hunter2\" };",
            "Server { DigestLoginModule required user_a=\"hunter2\"; }",
            "\"hunter2",
            "/* hunter2",
        ] {
            let message = refused(text);
            assert!(message.starts_with("line 1: expected") && !message.contains("hunter2"), "{message}");
        }
    }
}
