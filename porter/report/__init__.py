"""What the stages yield -> reports and JSON data that commands print. Nothing is printed here.

blocks, painted         what reports are made of, as plain text; the same on a terminal, wrapped and coloured
port, known, rule_page  conversions, sites, differences on disk; what porter sees in a source; rules
claims, lowering        proofs and checks; kernels
matrix, stack           every model of the library, a row each; what is installed
review                  a port for its reviewer: in the terminal, as a page
findings                what is open or wrong at a place: `github` and `sarif` write it for other programs
schema                  the forms of JSON documents

Takes:    what the stages yield: plans, ports, proofs, diagnostics.
Gives:    text for a person, data for JSON.
Imported: by `cli`, and by run scripts for their errors. It may look into every room.
"""
