use std::io::Write;

use super::CsvOnTerminal;

#[test]
fn a_cell_stays_in_its_row_and_commands_nothing() {
    let csv = "user,model\n\"\u{1b}[2J \"\"a\"\"\nforged,row\r\",b\u{9b}\u{202e}\nZoë,漢字\n";
    let mut seen = Vec::new();
    let mut terminal = CsvOnTerminal::new(&mut seen);
    // The writer of CSV may split it anywhere.
    for part in csv.as_bytes().chunks(3) {
        terminal.write_all(part).unwrap();
    }
    let rows =
        "user,model\n\"\\u{1b}[2J \"\"a\"\"\\u{a}forged,row\\u{d}\",b\\u{9b}\\u{202e}\nZoë,漢字\n";
    assert_eq!(String::from_utf8(seen).unwrap(), rows);
}
