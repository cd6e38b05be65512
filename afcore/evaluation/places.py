"""Which of the table's places, and which side of a wall, a text names."""

from __future__ import annotations

import re
from functools import cache

from afcore.knowledge.table import PLACES

WORDS = {
    "home": "home|house|household|apartment|flat|living room|dining room|hallway",
    "kitchen": "kitchen",
    "bathroom": "bathroom|toilet|restroom|shower|washroom",
    "bedroom": "bedroom|nursery|children's room",
    "yard or garden": "yard|garden|backyard|courtyard",
    "street": "street|city|town|pavement|sidewalk|alley|road",
    "main road": "main road|highway|motorway|traffic|road|crossroads",
    "park": "(?<!car )park",
    "playground": "playground|schoolyard",
    "farm": "farm|farmyard|barn|barnyard|stable",
    "open field": "field|meadow|countryside|pasture|grassland",
    "forest": "forest|woods|woodland|jungle",
    "mountains": "mountain|hill|valley",
    "river or lake": "river|lake|stream|brook|creek|waterside",
    "pond or marsh": "pond|marsh|swamp|wetland",
    "sea or shore": "sea|seaside|shore|beach|coast|ocean",
    "zoo": "zoo",
    "office": "office",
    "school": "school|classroom|kindergarten",
    "hospital or clinic": "hospital|clinic|doctor's|surgery",
    "church or temple": "church|temple|chapel|cathedral",
    "shop or market": "shop|market|store|supermarket|mall",
    "restaurant or bar": "restaurant|bar|cafe|café|pub|canteen",
    "concert or stage": "concert|stage|theatre|theater|music hall|club",
    "studio": "studio|rehearsal room",
    "festival or party": "festival|party|celebration|fair",
    "stadium or sports field": "stadium|sports field|pitch|sports ground|arena",
    "sports hall": "sports hall|gym|gymnasium",
    "workshop": "workshop|garage",
    "factory": "factory|industrial plant|industrial hall",
    "building site": "building site|construction site",
    "station": "(?<!radio )station|platform",
    "railway line": "railway|railway line|railroad|tracks|rails",
    "airport": "airport|runway|airfield",
    "harbour": "harbour|harbor|port|dock|quay",
    "inside a vehicle": r"(?:in|inside|aboard|on board)(?: of)? (?:a|an|the) (?:\w+ )?(?:vehicle|car(?! park)|train|"
    r"bus|plane|truck|boat|ship)",
    "battlefield": "battlefield|war zone|battle",
    "shooting range": "shooting range|firing range",
    "film, game or show": "film|movie|game|show|video game|television",
}
"""place → its words, as a pattern; "road" is a street and a main road."""
SIDES = {
    "indoors": r"indoors?|(?<!not )inside|interior|in a (?:\w+ )?(?:room|building|house|hall)|under a roof|"
    r"in the house",
    "outdoors": r"outdoors?|outside|exterior|open air|in the open|under the sky|in nature",
    "either": r"either|both|could be any",
}


@cache
def _patterns() -> dict[str, re.Pattern[str]]:
    assert WORDS.keys() == PLACES.keys()
    return {place: re.compile(rf"\b(?:{words})(?:e?s)?\b") for place, words in WORDS.items()}


def places_in(text: str) -> list[str]:
    """The table's places that a text in lower case names; where one word is two places ("road"), both."""
    found = [place for place, pattern in _patterns().items() if pattern.search(text)]
    if "stadium or sports field" in found and not re.search(r"(?<!sports )field", text):
        found = [place for place in found if place != "open field"]
    return found


def sides_in(text: str) -> set[str]:
    """ "indoors", "outdoors" and "either", as a text in lower case says them."""
    return {side for side, words in SIDES.items() if re.search(rf"\b(?:{words})\b", text)}
