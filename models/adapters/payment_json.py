"""Payments as banks and people write them, and the strict JSON that an accounting system wants.

`cases("train", seed)` and `cases("held_out", seed)` are endless and seeded. The two share what is a
closed class (currencies, months, legal forms, ways of writing a date or an amount) and nothing
else: sentence forms and counterparties of the held-out cases never occur in training. A third of
the training's forms and half of its names are made up, so that copying is learnt, not names.
"""

import datetime
import json
import random

import made_up

INSTRUCTION = "Write this payment as JSON with amount, currency, date and counterparty."

SYMBOLS = {"EUR": "€", "USD": "$", "GBP": "£"}
WORDS = {"EUR": "euros", "USD": "US dollars", "GBP": "pounds", "CHF": "francs", "JPY": "yen"}
FIRST_DAY = datetime.date(2019, 1, 1)
CURRENCIES = ["EUR", "USD", "GBP", "CHF", "SEK", "PLN", "CAD", "AUD", "JPY", "NOK", "DKK", "CZK"]
MONTHS = [
    "January", "February", "March", "April", "May", "June", "July", "August", "September",
    "October", "November", "December",
]  # fmt: skip

FORMS = {
    "train": [
        "Card payment {amount} {party} {date}",
        "{date} card purchase at {party}, {amount}, card ending {digits4}",
        "{date} {party} {amount}",
        "{date}; {party}; {amount}; ref {code}",
        "{party} {date} {amount} debit",
        "SEPA transfer to {party} of {amount} executed {date}",
        "SEPA credit from {party}, {amount}, value date {date}, end-to-end id {code}",
        "Direct debit {party} {amount} on {date}, mandate {code}",
        "Standing order to {party}: {amount}, booked {date}",
        "You paid {amount} to {party} on {date}.",
        "You received {amount} from {party} on {date}.",
        "On {date} we sent {amount} to {party}.",
        "On {date}, {party} charged your card {amount}.",
        "Invoice {code} from {party}, dated {date}, total {amount}",
        "Invoice no. {number} of {date}: {amount} payable to {party}",
        "{party} invoice {code} - amount due {amount} - date {date}",
        "Refund of {amount} from {party}, received {date}",
        "Refund {date} {party} {amount} order {number}",
        "POS {digits4} {party} {date} {amount}",
        "POS purchase {amount} {party} {date} terminal {number}",
        "ATM fee {amount}, {party}, {date}",
        "Payment to {party}. Amount: {amount}. Date: {date}.",
        "Amount {amount}, beneficiary {party}, booking date {date}",
        "Beneficiary: {party}; date: {date}; sum: {amount}",
        "Booking {date}: subscription {party}, {amount} per month",
        "Monthly fee for {party}, {amount}, taken on {date}",
        "Online payment ref {code}: {party}, {amount}, {date}",
        "{amount} was debited on {date} in favour of {party}",
        "{amount} to {party}, {date}",
        "{amount} from {party} arrived {date}, reference {number}",
        "Salary from {party} {date}: {amount}",
        "Rent paid to {party} on {date}: {amount}",
        "Receipt {number}: {party}, {date}, total {amount}",
        "Thank you for shopping at {party}! {date} Total {amount}",
        "Reminder: {amount} is due to {party} by {date}.",
        "Hi, I transferred {amount} to {party} on {date}, thanks.",
        "The fee of {party} came to {amount} on {date}.",
        "Wire {code} {date} {amount} {party}",
        "Order {number} at {party}: {amount} charged {date}",
        "Cheque no. {number} for {amount} paid to {party}, {date}",
    ],
    "held_out": [
        "Contactless {amount} {party} {date} card {digits4}",
        "{date} - {party} - {amount} - mobile wallet",
        "Bank transfer in favour of {party}, booked on {date}, amount {amount}",
        "Your purchase at {party} on {date} came to {amount}.",
        "We have debited {amount} for {party} on {date}, reference {code}.",
        "Bill {code} by {party}: please pay {amount} until {date}",
        "Hello, on {date} I sent {party} the {amount} we agreed on.",
        "Incoming payment {date}, sender {party}, {amount}, note {number}",
        "{party}: charged {amount}, posted {date}",
        "Deposit {number} paid back by {party} on {date}: {amount}",
        "Travel expense {date}, {party}, {amount}, receipt {code}",
        "Donation of {amount} to {party}, {date}",
    ],
}

OPENINGS = [
    "", "", "Paid: ", "Ref {code} - ", "No. {number}, ", "Note: ", "Card {digits4} ", "Item: ",
]  # fmt: skip
CLOSINGS = ["", "", "", ".", ", ref {code}", ", no. {number}", " (card {digits4})", ", thanks"]
SEPARATORS = [", ", ", ", " ", " ", "; ", " / ", " - ", ": ", " on ", " for ", " with ", " | "]

FIRST = {
    "train": """Luna Nordic Blue Central Green Royal Star Alpine Silver Golden Red Happy Urban
        Ocean River Lake Forest Summit Bright Quick Fresh Grand Little Old New Crown Harbour Park
        Maple Oak Cedar Rose Lion Eagle Falcon Bear Fox Atlas Delta Omega Nova Vista Terra Aqua
        Metro City Union First Prime Apex Global Euro Pacific Baltic Iberian Anker Becker Dubois
        Rossi Novak Jansen Larsen Murphy Keller Moreau Santos Kovacs Weber Fischer""",
    "held_out": """Juniper Copper Velvet Lunar Granite Willow Amber Coral Saffron Pioneer Beacon
        Horizon Meridian Solstice Orchard Thistle Raven Otter Heron Lynx Zephyr Cobalt Indigo
        Basalt Kestrel Hansen Petrov Ferrari Nowak Lindqvist Okafor Tanaka Brennan Castillo""",
}
SECOND = {
    "train": """Bakery Books Energy Telecom Insurance Market Coffee Foods Motors Garage Pharmacy
        Hotel Airlines Railways Taxi Studio Fitness Gardens Clinic Dental Software Cloud Hosting
        Media Print Tools Electronics Furniture Sports Shoes Fashion Optics Logistics Couriers
        Properties Consulting Partners Trading Supplies Flowers Toys Music Cinema Bistro""",
    "held_out": """Roastery Stationery Broadband Grocers Brewery Ceramics Opticians Cycles Ferries
        Laundry Nursery Robotics Textiles Vineyards Archive Butchers Carpentry Deli Florist
        Hardware Kitchens Plumbing Tailors Outfitters""",
}
LEGAL = ["", "", "", " Ltd", " GmbH", " SA", " Inc", " AB", " BV", " & Co", " Group"]
HELD_OUT_SYLLABLES = "che sho bru gle wy ja quo pha thi xe dra hol yan wen pri".split()


def cases(split, seed):
    """Endless `(prompt, answer)` pairs of a split, the same for the same seed."""
    rng = random.Random(f"payment_json {split} {seed}")
    while True:
        yield case(split, rng)


def case(split, rng):
    currency = rng.choice(CURRENCIES)
    cents = 1 if currency == "JPY" else 100
    minor = round(10 ** rng.uniform(0.3, 4.6) * cents)
    value = f"{minor}.00" if cents == 1 else f"{minor // 100}.{minor % 100:02}"
    date = FIRST_DAY + datetime.timedelta(days=rng.randrange(3285))
    if split == "train" and rng.random() < 0.4:
        # What is hardest to learn: "2nd of July" becomes "07-02", but "20 July" does not.
        date = date.replace(day=rng.choice([*range(1, 10), 10, 20, 28, 10, 20]))
    party = counterparty(split, rng)
    invent = split == "train" and rng.random() < 0.33
    line = (made_up_form(rng) if invent else rng.choice(FORMS[split])).format(
        amount=written_amount(value, currency, rng),
        party=party,
        date=written_date(date, rng),
        code=f"{rng.choice('ABCDFGHKLMNPRSTWX')}{rng.choice('ABEKRTX')}-{rng.randrange(1000, 99999)}",
        number=rng.randrange(100, 999999),
        digits4=f"{rng.randrange(10000):04}",
    )
    answer = {
        "amount": value,
        "currency": currency,
        "date": date.isoformat(),
        "counterparty": party,
    }
    return f"{INSTRUCTION}\n{line}", json.dumps(answer, ensure_ascii=False)


def made_up_form(rng):
    """The three parts in any order, between any separators."""
    parts = ["{amount}", "{party}", "{date}"]
    rng.shuffle(parts)
    first, second, third = parts
    return "".join(
        [rng.choice(OPENINGS), first, rng.choice(SEPARATORS), second, rng.choice(SEPARATORS), third]
        + [rng.choice(CLOSINGS)]
    )


def counterparty(split, rng):
    first, second = FIRST[split].split(), SECOND[split].split()
    if split == "train":
        brand = made_up.word(rng, HELD_OUT_SYLLABLES)
        if rng.random() < 0.5:
            first = [made_up.word(rng, HELD_OUT_SYLLABLES) for _ in range(2)]
        if rng.random() < 0.3:
            second = [made_up.word(rng, HELD_OUT_SYLLABLES)]
    else:
        brand = "".join(rng.choices(HELD_OUT_SYLLABLES, k=rng.choice([2, 3]))).capitalize()
    name = rng.choice(
        [
            lambda: f"{rng.choice(first)} {rng.choice(second)}",
            lambda: f"{rng.choice(first)} {rng.choice(second)}",
            lambda: f"{brand} {rng.choice(second)}",
            lambda: f"{rng.choice(first)} {brand}",
            lambda: brand,
            lambda: f"{rng.choice(first)} & {rng.choice(first)} {rng.choice(second)}",
        ]
    )()
    return name + rng.choice(LEGAL)


def written_amount(value, currency, rng):
    whole, cents = value.split(".")
    grouped = f"{int(whole):,}"
    number = rng.choice([f"{whole}.{cents}", f"{grouped}.{cents}"])
    if cents == "00":
        number = rng.choice([number, whole, grouped])
    ways = [f"{number} {currency}", f"{currency} {number}"]
    if currency in SYMBOLS:
        ways.append(f"{SYMBOLS[currency]}{number}")
    if currency in WORDS:
        ways.append(f"{number} {WORDS[currency]}")
    return rng.choice(ways)


def written_date(date, rng):
    month = MONTHS[date.month - 1]
    return rng.choice(
        [
            date.isoformat(),
            f"{date.day:02}.{date.month:02}.{date.year}",
            f"{date.day} {month} {date.year}",
            f"{date.day} {month[:3]} {date.year}",
            f"{month} {date.day}, {date.year}",
            f"{month[:3]} {date.day}, {date.year}",
            f"{date.day}{ordinal(date.day)} of {month} {date.year}",
        ]
    )


def ordinal(day):
    return "th" if day in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(day % 10, "th")
