//! Lines for a terminal: none is wider than 80 columns, and what came from outside can't control it.

/// The widest line.
pub(crate) const WIDTH: usize = 80;

/// A text whose characters each take one column: any other is shown as `?`.
pub(crate) fn printable(text: &str) -> String {
    let shown = |it: char| if it.is_ascii_graphic() || it == ' ' || it == '…' { it } else { '?' };
    text.chars().map(shown).collect()
}

/// A text of at most so many columns. Where something is cut, the last one says so.
pub(crate) fn cut(text: &str, width: usize) -> String {
    let text = printable(text);
    if text.chars().count() <= width {
        return text;
    }
    let kept = text.chars().take(width.saturating_sub(1));
    kept.chain(['…']).take(width).collect()
}

/// A paragraph in lines that end between words, each but the first one indented. A word that is too long is cut.
pub(crate) fn wrap(text: &str, indent: usize) -> String {
    let (text, indent) = (printable(text), " ".repeat(indent));
    let mut lines = Vec::new();
    // What stands before the first word stays.
    let mut line: String = text.chars().take_while(|it| *it == ' ').collect();
    let mut start = line.len();
    for word in text.split_whitespace() {
        if line.len() > start && line.chars().count() + 1 + word.chars().count() > WIDTH {
            lines.push(std::mem::replace(&mut line, indent.clone()));
            start = indent.len();
        }
        if line.len() > start {
            line.push(' ');
        }
        line.push_str(&cut(word, WIDTH - start));
    }
    lines.push(line);
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_cut_says_so_and_what_is_not_stays() {
        for (text, width, expected) in [
            ("GET", 3, "GET"),
            ("GETS", 3, "GE…"),
            ("GET", 0, ""),
            ("/\u{1b}[31m/語", 20, "/?[31m/?"),
            ("a\nb", 3, "a?b"),
        ] {
            assert_eq!(cut(text, width), expected, "{text:?} in {width} columns");
        }
    }

    #[test]
    fn lines_end_between_words() {
        let text = format!("  edge: {} end", "seven77 ".repeat(20));
        let wrapped = wrap(&text, 4);
        let lines: Vec<_> = wrapped.lines().collect();
        assert_eq!(lines.len(), 3, "{wrapped}");
        assert!(lines[0].starts_with("  edge: seven77 "), "{wrapped}");
        assert!(lines[1..].iter().all(|line| line.starts_with("    seven77 ")), "{wrapped}");
        assert!(lines.iter().all(|line| line.chars().count() <= WIDTH), "{wrapped}");
        assert_eq!(
            wrapped.split_whitespace().collect::<Vec<_>>(),
            text.split_whitespace().collect::<Vec<_>>()
        );
    }

    #[test]
    fn a_word_wider_than_a_line_is_cut() {
        let wrapped = wrap(&format!("{} {}", "x".repeat(200), "y".repeat(200)), 2);
        let widths: Vec<_> = wrapped.lines().map(|line| line.chars().count()).collect();
        assert_eq!(widths, [WIDTH, WIDTH]);
    }
}
