import java.io.FileInputStream;
import java.io.FileOutputStream;
import java.security.KeyStore;
import java.security.cert.Certificate;
import java.security.cert.CertificateFactory;

/** Writes a bundle of PEM certificates as the trust store every Java program reads by default. */
class Truststore {
    public static void main(String[] arguments) throws Exception {
        KeyStore store = KeyStore.getInstance("JKS");
        store.load(null, null);
        int number = 0;
        try (var bundle = new FileInputStream(arguments[0])) {
            for (Certificate certificate : CertificateFactory.getInstance("X.509").generateCertificates(bundle)) {
                store.setCertificateEntry("host-" + number++, certificate);
            }
        }
        if (number == 0) {
            throw new IllegalStateException("no certificate in " + arguments[0]);
        }
        try (var out = new FileOutputStream(arguments[1])) {
            store.store(out, "changeit".toCharArray());
        }
    }
}
