use rust_decimal::Decimal;

use super::rounded;

#[test]
fn nothing_has_no_minus() {
    let almost_nothing = Decimal::new(-9, 12);
    assert_eq!(format!("{:.6}", rounded(almost_nothing, 6)), "0.000000");
    assert_eq!(
        format!("{:.6}", rounded(Decimal::new(-9, 6), 6)),
        "-0.000009"
    );
}
