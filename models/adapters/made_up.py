"""Words that nobody has seen: with them a model learns to copy, not to choose among known names."""

ONSETS = """b bl br c ch cl cr d dr f fl fr g gl gr h j k kl kn kr l m n p pl pr qu r s sc sh sk sl
    sm sn sp st str sw t th tr v w wh y z""".split()
VOWELS = "a a a e e e i i o o o u u ai au ea ee ei ie oa oo ou y".split()
CODAS = ["", "", "", *"b ck d ff g l ll ld m n nd ng nt p r rd rk rn s ss st t th tz x".split()]
ENDINGS = ["", "", "", *"er en ton ham berg ley ford ing a o ia son well dale by ski".split()]


def word(rng, without):
    """A capitalised word in which no text of `without` occurs."""
    while True:
        syllables = [
            rng.choice(ONSETS) + rng.choice(VOWELS) + rng.choice(CODAS)
            for _ in range(rng.choice([1, 1, 2, 2]))
        ]
        made = "".join(syllables) + rng.choice(ENDINGS)
        if len(made) > 2 and not any(text in made for text in without):
            return made.capitalize()
