"""Floor 0: what names, places, dates and titles are made of, in English, French and German."""

GIVEN = """
Anna Marie Jean Pierre Paul Louise Claire Jacques Hélène André François Zoé Chloé Émile Noël Théo Agnès Inès Benoît
Jérôme Karl Friedrich Johann Heinrich Käthe Jörg Jürgen Günther Björn Sören Ludwig Otto Emma Greta Wilhelm Robert
Clara Rosa Ernst John Mary William Elizabeth George Alice Henry Jane Thomas Margaret Oscar Victoria Hugh Kate Quentin
Walter Xavier Yves Zach Fay Giuseppe Nico Akira Yuki Omar Fatima Igor Olga Vaclav Ximena Diego Ana Sven Ingrid Ulf
Lars Kofi Mei Ravi Priya
""".split()
FAMILY = """
Martin Bernard Dubois Lefèvre Moreau Fournier Girard Bonnet Gagnon Tremblay Côté Bouchard Pelletier Bélanger Lévesque
Müller Schmidt Schneider Fischer Weiß Schäfer Köhler König Krüger Böhm Groß Jäger Vogt Hübner Zöllner Kühn Pfeiffer
Wagner Bach Goethe Smith Jones Taylor Brown Wilson Walker Wright Hughes Edwards Green King Baker Hall Young Knight Fox
Quinn Webb Vaughan Yates Rossi García Novak Kowalski Nguyen Kim Tanaka Singh Haddad Okafor Jensen Eriksson Nagy
Popescu Ivanov O'Brien McKay
""".split()
PLACE = """
Groß Klein Neu Alt Ober Unter Nieder Hohen Schön Wein Stein Wolfs Fürsten Königs Grün Birken Eichen Buchen Mühl Brück
Kirch Wald See Hirsch Röhr Löb Dör Küh Rös Zeh Weiß Roth Schwarz Lind Erl Fisch Hof Burg Markt Schloß Jäger
""".split()
ENDING = """
dorf hausen heim bach berg burg feld furt hain kirchen leben ow itz roda rode stadt stein thal wald walde weiler mühle
tal brück häuser städt grün münde
""".split()
WAY = "straße straße straße straße weg gasse platz allee ring ufer steig damm graben hof park".split()
RUE = """rue de la|avenue du|place de l'|boulevard|rue des|chemin de|quai|impasse des|route de|rue du""".split("|")
MONTHS = {
    "en": "January February March April May June July August September October November December".split(),
    "fr": "janvier février mars avril mai juin juillet août septembre octobre novembre décembre".split(),
    "de": "Januar Februar März April Mai Juni Juli August September Oktober November Dezember".split(),
}
TITLES = {"en": "Mr. Mrs. Dr. Ms. Prof. St.", "fr": "M. Mme Mlle Dr Me St-", "de": "Herr Frau Dr. Prof. St. Fam."}
BEFORE = "Am|An der|Alte|Neue|Große|Kleine|Äußere|Zum|Im".split("|")
