"""Postal addresses inside sentences, and the labelled lines that a shipping system wants.

`cases("train", seed)` and `cases("held_out", seed)` are endless and seeded. The two share the
countries and nothing else: sentence forms, people, streets and cities of the held-out cases never
occur in training. Half of the training's forms are made up, with the parts in any order, and half
of its names, so that copying is learnt, not names.
"""

import random

import made_up

INSTRUCTION = "Write this address as lines: name, street, number, postcode, city, country code."

COUNTRIES = {
    "Germany": "DE", "France": "FR", "Spain": "ES", "Italy": "IT", "Poland": "PL", "Sweden": "SE",
    "Norway": "NO", "Denmark": "DK", "Austria": "AT", "Belgium": "BE", "Portugal": "PT",
    "Ireland": "IE", "Finland": "FI", "Switzerland": "CH", "the Netherlands": "NL",
    "the United Kingdom": "GB", "the United States": "US", "Canada": "CA",
}  # fmt: skip

FORMS = {
    "train": [
        "{name}, {number} {street}, {postcode} {city}, {country}",
        "{name}, {street} {number}, {postcode} {city}, {country}",
        "{name}; {street} {number}; {city} {postcode}; {country}",
        "{name} | {number} {street} | {city} | {postcode} | {country}",
        "Please deliver to {name}, {street} {number}, {city}, {postcode}, {country}.",
        "Please send it to {name} at {number} {street}, {city} {postcode}, {country}.",
        "Ship to: {name}, {number} {street}, {postcode} {city} ({country})",
        "Ship order {order} to {name}, {street} {number}, {postcode} {city}, {country}.",
        "Recipient {name}. Street: {street} {number}. Postcode {postcode}, city {city}, {country}.",
        "The parcel for {name} goes to {city}, {street} {number}, {postcode}, {country}.",
        "My name is {name} and I live at {number} {street} in {postcode} {city}, {country}.",
        "I am {name}. I have moved to {street} {number}, {postcode} {city}, {country}.",
        "New address of {name}: {number} {street}, {city}, {country}, postcode {postcode}.",
        "Invoice address: {name}, {street} {number}, {city} {postcode}, {country}",
        "Bill {name}, {number} {street}, {city}, {postcode}, {country}",
        "In {country}: {name}, {street} {number}, {postcode} {city}",
        "{city}, {country}: {name}, {number} {street}, postcode {postcode}",
        "{street} {number}, {postcode} {city}, {country}, care of {name}",
        "{number} {street}, {city}, {country} {postcode}. Ask for {name}.",
        "Customer {order}, {name}, lives in {city} ({postcode}), {country}, at {street} {number}.",
        "Return to sender: {name}, {street} {number}, {postcode} {city}, {country}",
        "Order {order}: {name}, {postcode} {city}, {street} {number}, {country}",
        "To {name}, {postcode} {city}, {number} {street}, {country}, phone {phone}",
        "{name}, phone {phone}, {number} {street}, {city} {postcode}, {country}",
        "Hi, it's {name}. Use {street} {number}, {postcode} {city}, {country} from now on.",
        "Delivery note {order} / {name} / {street} {number} / {postcode} {city} / {country}",
    ],
    "held_out": [
        "Parcel {order} is for {name}, {street} {number}, {postcode} {city}, {country}.",
        "Could you forward it to {name}, {number} {street}, {postcode} {city}, {country}?",
        "Deliver: {name} - {street} {number} - {postcode} {city} - {country}",
        "Our new office: {name}, {number} {street}, {city} {postcode}, {country}",
        "{name} has moved and is now at {street} {number}, {city}, {postcode}, {country}.",
        "Contact {name} (phone {phone}), {street} {number}, {postcode} {city}, {country}",
        "Send the contract to {name} in {city}, {country}: {number} {street}, {postcode}.",
        "Addressee {name}, {country}, {postcode} {city}, {street} {number}",
    ],
}

OPENINGS = [
    "", "", "Address: ", "Deliver to ", "Order {order}: ", "Phone {phone}. ", "For ", "It goes to ",
    "New contact, ", "Pick up at ", "The customer is ", "Label {order} - ",
]  # fmt: skip
SEPARATORS = [", ", ", ", "; ", " / ", " | ", ". ", ": ", " - ", " in ", " at "]

GIVEN = {
    "train": """Ada Ben Clara David Emma Felix Greta Henry Ines Jonas Karin Leo Maria Noah Olga Paul
        Rita Simon Tessa Victor Wanda Yusuf Anna Bruno Carla Daniel Elena Frank Hanna Ivan Julia
        Kevin Laura Mark Nina Oscar Petra Robert Sofia Thomas""",
    "held_out": """Astrid Cedric Delphine Einar Fiona Gustav Harriet Ismael Joanna Kaspar Linnea
        Magnus Nadia Otto Priya Quentin Rosalind Stefan Tilda Ursula""",
}
FAMILY = {
    "train": """Brandt Carter Dupont Evans Fernandez Garcia Hoffmann Ivanov Jensen Kowalski Lopez
        Martin Nielsen Olsen Peters Quinn Romano Silva Torres Ulrich Vogel Walker Young Zimmer Baker
        Clark Meyer Morris Parker Roberts Schmidt Taylor Wagner White Wilson""",
    "held_out": """Achterberg Bjornson Chatterjee Delacroix Eriksen Fairbanks Goldberg Hallstrom
        Iglesias Jankowski Kirchner Lefebvre Montague Navarro Oduya Pemberton Rasmussen""",
}
STREET = {
    "train": """Oak Maple Church Mill Station King Queen Park Garden River Lake Hill Market Castle
        Bridge School Forest Meadow Spring Sunset North South High Main Rose Linden Birch Cherry
        Abbey Canal Victoria Windmill Goethe Mozart Central""",
    "held_out": """Juniper Hawthorn Quarry Lantern Orchard Harbour Beacon Cobbler Foundry Granary
        Heather Ivy Kestrel Lavender Monastery Otter Primrose""",
}
ROAD = ["Street", "Road", "Lane", "Avenue", "Way", "Square", "Drive", "Court", "Row", "Gate"]
CITY = {
    "train": """Springfield Lakeview Riverton Ashford Brookfield Clayton Dunmore Eastwood Fairview
        Glenwood Hartley Kingston Langford Milton Newport Oakdale Preston Ravensburg Salisbury
        Thornton Upton Waldheim Westbury Neustadt Altdorf Rosenheim Villeneuve Montrose Valencia
        Lindholm Karlstad Bergamo Coimbra Odense""",
    "held_out": """Wexcombe Harlesden Quillfeldt Dornbach Montferrat Skovby Tavernola Peniche
        Bruckstein Larvik Zellhausen Oxmoor Farnley Copperhill""",
}

HELD_OUT_NAMES = [
    name.lower() for pool in (GIVEN, FAMILY, STREET, CITY) for name in pool["held_out"].split()
]


def cases(split, seed):
    """Endless `(prompt, answer)` pairs of a split, the same for the same seed."""
    rng = random.Random(f"address_lines {split} {seed}")
    while True:
        yield case(split, rng)


def case(split, rng):
    def pick(pool):
        if split == "train" and rng.random() < 0.5:
            return made_up.word(rng, HELD_OUT_NAMES)
        return rng.choice(pool[split].split())

    country = rng.choice(list(COUNTRIES))
    fields = {
        "name": f"{pick(GIVEN)} {pick(FAMILY)}",
        "street": f"{pick(STREET)} {rng.choice(ROAD)}",
        "number": f"{rng.randrange(1, 400)}{rng.choice(['', '', '', 'a', 'b', 'c'])}",
        "postcode": postcode(rng),
        "city": pick(CITY),
    }
    invent = split == "train" and rng.random() < 0.5
    line = (made_up_form(rng) if invent else rng.choice(FORMS[split])).format(
        **fields,
        country=rng.choice([country, country.removeprefix("the ")]),
        order=rng.randrange(1000, 999999),
        phone=f"{rng.randrange(100, 1000)} {rng.randrange(1000, 10000)}",
    )
    lines = [f"{key}: {value}" for key, value in fields.items()]
    return f"{INSTRUCTION}\n{line}", "\n".join([*lines, f"country: {COUNTRIES[country]}"])


def made_up_form(rng):
    """The parts in any order, between any separators."""
    street = rng.choice(["{street} {number}", "{number} {street}"])
    place = rng.choice([["{postcode} {city}"], ["{city} {postcode}"], ["{city}", "{postcode}"]])
    rest = [street, *place, "{country}"]
    rng.shuffle(rest)
    rest.insert(rng.choice([0, 0, 0, len(rest)]), "{name}")
    usual = rng.choice(SEPARATORS)
    line = rng.choice(OPENINGS) + rest[0]
    for part in rest[1:]:
        line += (usual if rng.random() < 0.7 else rng.choice(SEPARATORS)) + part
    return line


def postcode(rng):
    letters = "ABCDEFGHJKLMNPRSTUWXY"
    return rng.choice(
        [
            f"{rng.randrange(10000, 100000)}",
            f"{rng.randrange(1000, 10000)}",
            f"{rng.randrange(10, 100)}-{rng.randrange(100, 1000)}",
            f"{rng.choice(letters)}{rng.choice(letters)}{rng.randrange(1, 30)} "
            f"{rng.randrange(1, 10)}{rng.choice(letters)}{rng.choice(letters)}",
        ]
    )
