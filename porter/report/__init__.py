"""What the stages yield -> the text and the JSON data that commands print. Nothing is printed here.

port     conversions, sites, differences on disk
known    what porter sees in a source; the rules
claims   proofs and checks
"""
